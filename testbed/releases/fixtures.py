# SPDX-License-Identifier: Apache-2.0
"""What differs between releases in Nova's and Placement's own fixtures, which are private to these projects."""

from __future__ import annotations

from importlib.metadata import version

from nova import monkey_patch


def runs_on_eventlet() -> bool:
    """Whether Nova's own fixtures of this release do, as nova-scheduler did up to Nova 32.

    That of Nova 33 has native threads, but the fixtures look for the green thread that sends a notification.
    """
    return int(version("nova").partition(".")[0]) <= 33


def run_as_the_fixtures_do() -> None:
    """Run on what Nova's own fixtures of this release need: green threads or native ones.

    To be called before anything else is imported that opens sockets or makes locks. Up to Nova 31 the import alone has
    let eventlet patch this process.
    """
    if not runs_on_eventlet():
        monkey_patch.patch("threading")
    elif hasattr(monkey_patch, "patch"):  # from Nova 32 on
        monkey_patch.patch()

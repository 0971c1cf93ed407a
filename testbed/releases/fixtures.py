# SPDX-License-Identifier: Apache-2.0
"""What differs between releases of Nova and Placement for tests, mostly in their own fixtures, which are private."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from nova import monkey_patch


def runs_on_eventlet() -> bool:
    """Whether Nova's own fixtures of this release do, as nova-scheduler did up to Nova 32.

    That of Nova 33 has native threads, but the fixtures look for the green thread that sends a notification.
    """
    return _nova() <= 33


def hands_on_the_limits_of_a_live_migration() -> bool:
    """Whether nova-compute at the destination of a live migration respects what the scheduler's filters have set."""
    return _nova() >= 34


def _nova() -> int:
    return int(version("nova").partition(".")[0])


def run_as_the_fixtures_do() -> None:
    """Run on what Nova's own fixtures of this release need: green threads or native ones.

    To be called before anything else is imported that opens sockets or makes locks. Up to Nova 31 the import alone has
    let eventlet patch this process.
    """
    if not runs_on_eventlet():
        monkey_patch.patch("threading")
    elif hasattr(monkey_patch, "patch"):  # from Nova 32 on
        monkey_patch.patch()


def run_on_native_threads() -> None:
    """Run one of Nova's services on native threads, whatever its release would take.

    To be called as above. Up to Nova 32 its process needs OS_NOVA_DISABLE_EVENTLET_PATCHING in its environment.
    """
    if hasattr(monkey_patch, "patch"):
        call_with_as_many(monkey_patch.patch, "threading")


def call_with_as_many(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of Nova's with as many of these arguments as it takes in its release."""
    return function(*arguments[: len(inspect.signature(function).parameters)])

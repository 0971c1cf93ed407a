# SPDX-License-Identifier: Apache-2.0
"""What differs between releases in Nova's and Placement's own fixtures, which are private to these projects."""

from __future__ import annotations

import inspect

from nova import monkey_patch


def runs_on_eventlet() -> bool:
    """Whether nova-scheduler of this release does; native threads are what it runs on from Nova 33 on."""
    patch = getattr(monkey_patch, "patch", None)
    return patch is None or "backend" not in inspect.signature(patch).parameters


def run_as_the_scheduler_does() -> None:
    """Run on what nova-scheduler of this release runs on.

    To be called before anything else is imported that opens sockets or makes locks. Up to Nova 31 the import alone has
    let eventlet patch this process.
    """
    if not runs_on_eventlet():
        monkey_patch.patch("threading")
    elif hasattr(monkey_patch, "patch"):
        monkey_patch.patch()

# SPDX-License-Identifier: Apache-2.0
"""What differs between releases in Nova's and Placement's own fixtures, which are private to these projects."""

from __future__ import annotations

import inspect

from nova import monkey_patch


def run_as_the_scheduler_does() -> None:
    """Run on what nova-scheduler of this release runs on: eventlet up to Nova 32, native threads from 33 on.

    To be called before anything else is imported that opens sockets or makes locks. Up to Nova 31 the import alone has
    let eventlet patch this process.
    """
    patch = getattr(monkey_patch, "patch", None)
    if patch is None:
        return
    if "backend" in inspect.signature(patch).parameters:
        patch("threading")
    else:
        patch()

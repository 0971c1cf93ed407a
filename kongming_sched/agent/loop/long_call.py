# SPDX-License-Identifier: Apache-2.0
"""A call that may take minutes and yet does its work: moving a large guest's memory to another NUMA node.

libvirt answers once the kernel has moved all pages. Until then the loop watches how many are still where they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

_T = TypeVar("_T")

WATCH_SECONDS = 10.0
"""How often to watch what a call has done so far, unless watching itself takes long: the kernel walks all pages."""

_REST = 4
"""How many times as long as watching has taken not to watch."""


def call_watched(
    call: Callable[[], _T],
    observe: Callable[[], object],
    progress: Callable[[], None],
    watch_seconds: float = WATCH_SECONDS,
) -> _T:
    """Make a call in a thread of its own, and report progress as long as what is observed changes.

    A call that does no more gets no such report, so that the watchdog ends it in the end, and the agent with it.

    :param observe: how far the call is; None if that is not known
    :param progress: called from the thread that waits for the call
    :raises Exception: what the call raises
    """
    with ThreadPoolExecutor(1, "libvirt-call") as executor:
        future = executor.submit(call)
        pause: float = watch_seconds
        before: object = None
        while not wait([future], pause).done:
            began = time.monotonic()
            now = observe()
            if now is not None and now != before:
                progress()
                before = now
            pause = max(watch_seconds, _REST * (time.monotonic() - began))
        return future.result()

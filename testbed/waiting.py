# SPDX-License-Identifier: Apache-2.0
"""Waits of tests for other processes and threads, which no machine is too slow for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 180.0
"""How long to wait for what takes a second on an idle machine; a test waits so long only if it fails."""

_T = TypeVar("_T")


def until(probe: Callable[[], _T], what: Callable[[], object] = lambda: "it") -> _T:
    """Wait until something is true, and give it.

    :param what: says in the error what has not come
    :raises AssertionError: if it does not come
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what()} does not come within {PATIENCE_SECONDS:g} s")
        time.sleep(0.05)
    return found

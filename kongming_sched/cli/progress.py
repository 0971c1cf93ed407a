# SPDX-License-Identifier: Apache-2.0
"""How far a long command is: one line on a terminal that renews itself, and nothing in a pipe or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

_T = TypeVar("_T")

PATIENCE_SECONDS = 1.0
"""Work that takes less time shows no progress."""

_PERIOD_SECONDS = 0.1


def shown(items: Iterable[_T], doing: str, clock: Callable[[], float] = time.monotonic) -> Iterator[_T]:
    """Go through the items and show how many are done, and of how many if that is known.

    :param doing: what is done to each, as in ``reading node``
    """
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield from items
        return
    total = f" of {len(items)}" if isinstance(items, Sized) else ""
    next_time, width = clock() + PATIENCE_SECONDS, 0
    try:
        for number, item in enumerate(items, 1):
            if clock() >= next_time:
                line = f"{doing} {number}{total}"
                sys.stderr.write(f"\r{line.ljust(width)}")
                sys.stderr.flush()
                next_time, width = clock() + _PERIOD_SECONDS, len(line)
            yield item
    finally:
        if width:
            sys.stderr.write(f"\r{' ' * width}\r")
            sys.stderr.flush()

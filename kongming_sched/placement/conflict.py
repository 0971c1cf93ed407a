# SPDX-License-Identifier: Apache-2.0
"""Retries after a conflict: another client of Placement has written meanwhile."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from kongming_sched.exceptions import PlacementConflict

ATTEMPTS = 5
_LONGEST_WAIT_SECONDS = 0.1

_P = ParamSpec("_P")
_T = TypeVar("_T")


def retry_on_conflict(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Call a function again if Placement reports a conflict, up to :data:`ATTEMPTS` times in all.

    The function must read anew each time. Calls are a short random time apart, so that two writers do not collide
    again.
    """

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for _ in range(ATTEMPTS - 1):
            try:
                return function(*args, **kwargs)
            except PlacementConflict:
                time.sleep(random.uniform(0, _LONGEST_WAIT_SECONDS))  # noqa: S311  # no secret
        return function(*args, **kwargs)

    return run

# SPDX-License-Identifier: Apache-2.0
"""Ids by which a command is found in the logs of the services that it asked, and a number for where no id fits.

A global request id is what OpenStack's services log beside their own for each request that carries it. Its first eight
digits are a number that Placement takes for an amount, so that a record in Placement can name the command it is from.
"""

from __future__ import annotations

import uuid

from kongming_sched.texts.whole_number import AMOUNTS

_PREFIX = "req-"


def new_request_id() -> str:
    """A global request id, which no other command has."""
    while True:
        found = f"{_PREFIX}{uuid.uuid4()}"
        if request_mark(found):
            return found


def request_mark(request_id: str) -> int:
    """The number of an id's first eight digits, from 1 to 2**31 - 1; 0 for an id that has none in these limits."""
    digits = request_id.removeprefix(_PREFIX).partition("-")[0]
    try:
        mark = int.from_bytes(bytes.fromhex(digits), "big")
    except ValueError:
        return 0
    return mark if mark in AMOUNTS else 0


def request_words(mark: int) -> str:
    """The beginning of the id that a number stands for, as in ``req-1a2b3c4d``; empty for 0."""
    return f"{_PREFIX}{mark:08x}" if mark else ""

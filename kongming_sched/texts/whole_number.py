# SPDX-License-Identifier: Apache-2.0
"""Whole numbers as others write them: within limits, and in one way of writing.

``int`` takes more for a number than is one here: digits of other scripts, underscores, signs and space. Of some 5,000
digits it says that they are too many, by an error that nobody expects of digits, and what it takes may be so large that
a range of it takes all memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from kongming_sched import exceptions
from kongming_sched.cpuset import MAX_CPU

CPUS = range(MAX_CPU + 1)
"""Numbers of host CPUs and of vCPUs."""
VCPU_COUNTS = range(1, MAX_CPU + 2)
"""How many vCPUs a server may have."""
NODE_IDS = range(256)
"""Numbers of host NUMA nodes. Linux counts to 1023, and no machine has numbers above 255."""
IOTHREAD_IDS = range(2**32)
"""libvirt's ids of a guest's I/O threads, which are chosen where the guest is defined."""
THREADS_PER_CORE = range(1, 65)
"""How many hardware threads a core may have; 8 is the most that is built."""
AMOUNTS = range(2**31)
"""What Placement and Nova take for an amount: their databases have 32 bits and a sign."""


def find_whole_number(text: str, allowed: range) -> int | None:
    """The number that a text is; None if it is none of these.

    A number is made of the digits 0 to 9, with a minus sign before those that are negative.

    :param allowed: a range without steps
    """
    digits = text.removeprefix("-") if allowed.start < 0 else text
    if not digits.isascii() or not digits.isdecimal():
        return None
    widest = len(str(max(abs(allowed.start), abs(allowed.stop))))
    if len(digits.lstrip("0")) > widest:
        return None
    number = -int(digits) if digits != text else int(digits)
    return number if number in allowed else None


def read_whole_number(text: str | None, allowed: range) -> int:
    """The number that a text is.

    :param allowed: a range without steps
    :raises InvalidNumber: if it is none of these, or there is no text
    """
    number = find_whole_number(text or "", allowed)
    if number is None:
        raise exceptions.InvalidNumber(text or "", allowed.start, allowed.stop - 1)
    return number


def is_whole_number(value: object, allowed: range) -> bool:
    """Whether a value of a document, as of JSON, is one of these numbers; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value in allowed


def whole_number_argument(allowed: range) -> Callable[[str], int]:
    """The type of a command's argument, as argparse wants it."""

    def read(text: str) -> int:
        try:
            return read_whole_number(text, allowed)
        except exceptions.InvalidNumber as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read

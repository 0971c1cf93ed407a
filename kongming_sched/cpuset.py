# SPDX-License-Identifier: Apache-2.0
"""CpuSet: an immutable set of CPU numbers with one canonical text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.texts.printable import quote

MAX_CPU = 8191
"""The highest CPU number that Linux can have (CONFIG_NR_CPUS is 8192 at most)."""


@dataclass(frozen=True, slots=True)
class CpuSet:
    """A set of CPU numbers from 0 to :data:`MAX_CPU`.

    ``str()`` gives the canonical text ("0-3,8"), which :meth:`parse` reads back. The same type holds host CPUs
    (hardware threads) and vCPUs; which of the two is meant stands in the name of the variable.

    :ivar mask: bit *n* is set if CPU *n* is in the set
    """

    mask: int = 0

    @classmethod
    def of(cls, cpus: Iterable[int]) -> CpuSet:
        """The set of these CPU numbers.

        :raises InvalidCpuSet: for a number below 0 or above MAX_CPU
        """
        mask = 0
        for cpu in cpus:
            if not 0 <= cpu <= MAX_CPU:
                raise exceptions.InvalidCpuSet(str(cpu), f"CPU numbers go from 0 to {MAX_CPU}")
            mask |= 1 << cpu
        return cls(mask)

    @classmethod
    def parse(cls, text: str) -> CpuSet:
        """Read ranges, lists and ``^`` for leaving out, applied left to right: "5-6,9-11,^10".

        The empty text is the empty set. Blanks around numbers do not count.

        :raises InvalidCpuSet: naming the part that is wrong
        """
        mask = 0
        if not text.strip():
            return cls()
        for part in text.split(","):
            rule = part.strip()
            bits = _parse_range(text, rule.removeprefix("^").strip(), part)
            mask = mask & ~bits if rule.startswith("^") else mask | bits
        return cls(mask)

    def __str__(self) -> str:
        return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in self.ranges())

    def __repr__(self) -> str:
        return f"CpuSet('{self}')"

    def __iter__(self) -> Iterator[int]:
        mask = self.mask
        while mask:
            lowest = mask & -mask
            yield lowest.bit_length() - 1
            mask ^= lowest

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __bool__(self) -> bool:
        return self.mask != 0

    def __contains__(self, cpu: object) -> bool:
        return isinstance(cpu, int) and cpu >= 0 and bool(self.mask >> cpu & 1)

    def __or__(self, other: CpuSet) -> CpuSet:
        return CpuSet(self.mask | other.mask)

    def __and__(self, other: CpuSet) -> CpuSet:
        return CpuSet(self.mask & other.mask)

    def __sub__(self, other: CpuSet) -> CpuSet:
        return CpuSet(self.mask & ~other.mask)

    def __le__(self, other: CpuSet) -> bool:
        return not self.mask & ~other.mask

    @property
    def first(self) -> int:
        """The lowest CPU number; the set must not be empty."""
        if not self.mask:
            raise ValueError("an empty CPU set has no first CPU")
        return (self.mask & -self.mask).bit_length() - 1

    def isdisjoint(self, other: CpuSet) -> bool:
        """True if no CPU is in both sets."""
        return not self.mask & other.mask

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The longest runs of neighbours, ascending, as (first, last)."""
        start = previous = None
        for cpu in self:
            if previous is None or cpu != previous + 1:
                if start is not None and previous is not None:
                    yield start, previous
                start = cpu
            previous = cpu
        if start is not None and previous is not None:
            yield start, previous

    @classmethod
    def union(cls, sets: Iterable[CpuSet]) -> CpuSet:
        """Everything that is in any of the sets."""
        mask = 0
        for cpus in sets:
            mask |= cpus.mask
        return cls(mask)


def _parse_range(text: str, rule: str, part: str) -> int:
    """The bits of one "3" or "3-5"."""
    low, dash, high = rule.partition("-")
    numbers = [low.strip(), high.strip()] if dash else [low.strip()]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        raise exceptions.InvalidCpuSet(text, f"{quote(part.strip())} is neither a number nor a range")
    if any(len(number) > len(str(MAX_CPU)) or int(number) > MAX_CPU for number in numbers):
        raise exceptions.InvalidCpuSet(text, f"{quote(part.strip())} is above the highest CPU number {MAX_CPU}")
    first, last = int(numbers[0]), int(numbers[-1])
    if first > last:
        raise exceptions.InvalidCpuSet(text, f"the range {quote(part.strip())} runs backwards")
    return (1 << last + 1) - (1 << first)

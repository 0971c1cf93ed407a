# SPDX-License-Identifier: Apache-2.0
"""A program that uses KongMing's types, for mypy to read beside an installed wheel.

Without py.typed in the wheel mypy would take what is imported for Any, and call the comments below needless.
"""

from kongming_sched.cpuset import CpuSet
from kongming_tempest_plugin.view import View, leftovers

CPUS: CpuSet = CpuSet.parse("0-3,8")
WRONG: str = CpuSet.parse("0-3,8")  # type: ignore[assignment]  # a CpuSet is no str


def count_leftovers(view: View) -> int:
    """How many lines there are; not the lines, which mypy must notice."""
    return leftovers(view)  # type: ignore[return-value]  # a list is no int

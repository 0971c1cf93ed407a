# SPDX-License-Identifier: Apache-2.0
"""CPUs that two options give away."""

from __future__ import annotations

import pytest

from kongming_sched.clashes import find_clashes
from kongming_sched.cpuset import CpuSet


@pytest.mark.parametrize(
    ("ours", "option", "novas", "theirs", "twice"),
    [
        pytest.param("2-7", "dedicated_cpu_set", "8-9", "cpu_dedicated_set", None, id="apart"),
        pytest.param("2-7", "dedicated_cpu_set", "2-7", "cpu_dedicated_set", None, id="the pool is Nova's"),
        pytest.param("2-7", "dedicated_cpu_set", "2-6", "cpu_dedicated_set", "2-6", id="a part of the pool"),
        pytest.param("2-7", "dedicated_cpu_set", "2-8", "cpu_dedicated_set", "2-7", id="more than the pool"),
        pytest.param("2-7", "dedicated_cpu_set", "2-7", "cpu_shared_set", "2-7", id="the pool is shared"),
        pytest.param("2-7", "shared_cpu_set", "2-7", "cpu_dedicated_set", "2-7", id="the shared pool"),
    ],
)
def test_cpus_that_are_named_twice(ours: str, option: str, novas: str, theirs: str, twice: str | None) -> None:
    """They are an error, unless the dedicated pool is Nova's own as a whole."""
    found = list(find_clashes({option: CpuSet.parse(ours)}, {theirs: CpuSet.parse(novas)}))
    expected = [f"CPU {twice} is in nova.conf's [compute] {theirs} too; take it out of one of them"] if twice else []
    assert expected == [error.reason for error in found]

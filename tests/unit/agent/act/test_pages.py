# SPDX-License-Identifier: Apache-2.0
"""When pages count as being elsewhere."""

from __future__ import annotations

import pytest

from kongming_sched.agent.act.pages import find_elsewhere
from kongming_sched.cpuset import CpuSet


@pytest.mark.parametrize(
    ("memory_mb", "expected"),
    [
        pytest.param({1: 4096}, {}, id="all where they belong"),
        pytest.param({0: 16, 1: 512}, {}, id="a few buffers"),
        pytest.param({0: 17, 1: 512}, {0: 17}, id="more than a few"),
        pytest.param({0: 600, 1: 65536}, {}, id="less than a hundredth of a large guest"),
        pytest.param({0: 700, 1: 65536}, {0: 700}, id="more than a hundredth"),
        pytest.param({0: 10, 1: 300, 2: 10}, {0: 10, 2: 10}, id="the nodes together"),
        pytest.param({}, {}, id="no page at all"),
    ],
)
def test_what_is_astray(memory_mb: dict[int, int], expected: dict[int, int]) -> None:
    """16 MiB, or a hundredth of a guest's memory if that is more, may lie elsewhere."""
    assert expected == find_elsewhere(memory_mb, CpuSet.of([1]))

# SPDX-License-Identifier: Apache-2.0
"""Which flavors have more candidates than the limits on them let through."""

from __future__ import annotations

import pytest

from kongming_sched.cloud.candidates import find_limit
from kongming_sched.cloud.capacity import HostRoom, NodeRoom
from kongming_sched.cloud.compute import Flavor
from kongming_sched.placement import names
from kongming_sched.request import CellRequest, PinningRequest


def host(nodes: int, free: int = 4) -> HostRoom:
    """A host of so many equal nodes."""
    rooms = {node: NodeRoom({names.PCPU: free}, frozenset()) for node in range(nodes)}
    return HostRoom(f"c{nodes}", "uuid", {}, frozenset(), rooms)


@pytest.mark.parametrize(
    ("cells", "hosts", "policy", "words"),
    [
        pytest.param(6, [host(2), host(6)], "none", "46656 candidates of the 6 cells on host c6 alone", id="too many"),
        pytest.param(6, [host(6)], "isolate", "tries 46656 ways to place the 6 cells on host c6", id="slow"),
        pytest.param(4, [host(4)], "none", None, id="few"),
        pytest.param(5, [host(5)], "isolate", None, id="few enough to be tried"),
        pytest.param(6, [host(6, free=1)], "none", None, id="no room"),
        pytest.param(1, [host(2000)], "none", None, id="one cell"),
        pytest.param(6, [], "none", None, id="no host"),
    ],
)
def test_limit_on_candidates(cells: int, hosts: list[HostRoom], policy: str, words: str | None) -> None:
    """It is named where Placement may drop what could be used, or takes long to find it, with the host."""
    request = PinningRequest(
        "wide", tuple(CellRequest(f"_KONGMING{index}", {names.PCPU: 2}, frozenset()) for index in range(cells))
    )
    found = find_limit(Flavor("1", "m1.wide", cells, 512, {"group_policy": policy}), request, hosts)
    assert words in found if words and found else found is words
    assert ("--group-policy isolate" in (found or "")) == (policy == "none" and words is not None)

# SPDX-License-Identifier: Apache-2.0
"""The extra specs by which Nova lays a server out, beside a template."""

from __future__ import annotations

import pytest

from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import InvalidRequest
from kongming_sched.nova_numa.keys import GuestCell, NovaCpuPolicy, NovaNuma
from kongming_sched.request import CellRequest, PinningRequest, find_clash, find_following

ONE_CELL = {
    "kongming:template": "dpdk",
    "hw:mem_page_size": "2MB",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
    "resources_KONGMING0:CUSTOM_KONGMING_PAGES_2MIB": "128",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_DPDK": "required",
}
TWO_CELLS = {
    "kongming:template": "wide",
    "hw:cpu_policy": "dedicated",
    "hw:numa_nodes": "2",
    "hw:numa_cpus.0": "0-1",
    "hw:numa_cpus.1": "2",
    "hw:numa_mem.0": "171",
    "hw:numa_mem.1": "85",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "171",
    "resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1",
    "resources_KONGMING1:CUSTOM_KONGMING_MEMORY_MB": "85",
}

REALTIME = {
    "kongming:template": "ran",
    "hw:cpu_policy": "dedicated",
    "hw:cpu_realtime": "true",
    "hw:cpu_realtime_mask": "1-3",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "4",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "256",
}
MIXED = {
    "kongming:template": "mixed",
    "hw:mem_page_size": "2MB",
    "hw:cpu_policy": "mixed",
    "hw:cpu_dedicated_mask": "1-3",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "3",
    "resources_KONGMING0:CUSTOM_KONGMING_VCPU": "1",
    "resources_KONGMING0:CUSTOM_KONGMING_PAGES_2MIB": "128",
}
MIXED_REALTIME = {
    key: value for key, value in MIXED.items() if key not in ("hw:mem_page_size", "hw:cpu_dedicated_mask")
} | {
    "hw:cpu_realtime": "true",
    "hw:cpu_realtime_mask": "1-3",
    "hw:emulator_threads_policy": "isolate",
}


LOCAL = {
    "kongming:template": "local",
    "kongming:devices": "local",
    "hw:cpu_policy": "dedicated",
    "hw:pci_numa_affinity_policy": "required",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "256",
}


def without(specs: dict[str, str], *keys: str) -> dict[str, str]:
    """All but these keys."""
    return {key: value for key, value in specs.items() if key not in keys}


def numa_of(specs: dict[str, str]) -> NovaNuma | None:
    """What Nova makes of a flavor that names a template."""
    request = PinningRequest.from_extra_specs(specs)
    assert request is not None
    return request.nova_numa


def test_pages_make_one_node() -> None:
    """With the memory that the group takes in pages, and without pinning by Nova."""
    expected = NovaNuma(2048, NovaCpuPolicy.SHARED, (GuestCell(None, 256),))
    assert expected == numa_of(ONE_CELL)


@pytest.mark.parametrize("size", ["2048", "2MiB", "2MB"])
def test_a_size_may_be_written_otherwise(size: str) -> None:
    """As Nova reads it."""
    assert numa_of(ONE_CELL) == numa_of({**ONE_CELL, "hw:mem_page_size": size})


def test_visible_nodes_are_those_of_the_cells() -> None:
    """Each with its vCPUs and its memory, pinned by Nova at the start."""
    cells = (GuestCell(CpuSet.parse("0-1"), 171), GuestCell(CpuSet.parse("2"), 85))
    assert NovaNuma(None, NovaCpuPolicy.DEDICATED, cells) == numa_of(TWO_CELLS)


def test_real_time_makes_one_node() -> None:
    """With the vCPUs that run in real time, and Nova's own CPU for the emulator where the flavor asks for that."""
    cells = (GuestCell(None, 256),)
    expected = NovaNuma(None, NovaCpuPolicy.DEDICATED, cells, CpuSet.parse("1-3"))
    assert expected == numa_of(REALTIME | {"hw:cpu_realtime": "yes"})
    own = REALTIME | {"hw:cpu_realtime_mask": "0-3", "hw:emulator_threads_policy": "isolate"}
    assert NovaNuma(None, NovaCpuPolicy.DEDICATED, cells, CpuSet.parse("0-3"), has_own_emulator=True) == numa_of(own)


def test_vcpus_that_float() -> None:
    """Nova pins the others; where these run in real time their mask names them."""
    cells = (GuestCell(None, 256),)
    pinned = CpuSet.parse("1-3")
    assert NovaNuma(2048, NovaCpuPolicy.DEDICATED, cells, pinned=pinned) == numa_of(MIXED)
    assert NovaNuma(2048, NovaCpuPolicy.DEDICATED, cells, pinned, True, pinned) == numa_of(MIXED_REALTIME | PAGED)


PAGED = {"hw:mem_page_size": "2MB"}


def test_locked_memory_of_real_time() -> None:
    """May be said of huge pages; that it is not locked is refused."""
    paged = REALTIME | {"hw:mem_page_size": "2MB", "resources_KONGMING0:CUSTOM_KONGMING_PAGES_2MIB": "128"}
    paged = without(paged, "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB")
    following = {"hw:mem_page_size", "hw:cpu_policy", "hw:cpu_realtime", "hw:cpu_realtime_mask"}
    assert following == find_following(paged)
    assert {*following, "hw:locked_memory"} == find_following(paged | {"hw:locked_memory": "True"})
    with pytest.raises(InvalidRequest, match="is 'false', and the memory of real-time servers is locked") as caught:
        numa_of(paged | {"hw:locked_memory": "false"})
    assert "hw:locked_memory" == caught.value.key


def test_memory_that_an_operator_locks_is_no_matter() -> None:
    """Of a flavor without real time."""
    assert numa_of(ONE_CELL) == numa_of(ONE_CELL | {"hw:locked_memory": "true"})
    assert "hw:locked_memory" not in find_following(ONE_CELL | {"hw:locked_memory": "true"})


def test_a_flavor_without_such_keys_makes_none() -> None:
    """Nova knows nothing of the nodes of most servers."""
    plain = {key: value for key, value in TWO_CELLS.items() if not key.startswith("hw:")}
    assert numa_of(plain) is None


def test_a_group_counts_its_memory() -> None:
    """In pages of whatever size."""
    pages = {"CUSTOM_KONGMING_PAGES_1GIB": 2, "CUSTOM_KONGMING_PCPU": 1}
    assert (1048576, 2048) == ((cell := CellRequest("", pages, frozenset())).page_kib, cell.memory_mb)
    small = CellRequest("", {"CUSTOM_KONGMING_MEMORY_MB": 512}, frozenset())
    assert (None, 512) == (small.page_kib, small.memory_mb)


@pytest.mark.parametrize(
    ("specs", "key"),
    [
        pytest.param(ONE_CELL | {"hw:mem_page_size": "1GB"}, "hw:mem_page_size", id="another size"),
        pytest.param(ONE_CELL | {"hw:mem_page_size": "large"}, "hw:mem_page_size", id="large"),
        pytest.param(ONE_CELL | {"hw:mem_page_size": "any"}, "hw:mem_page_size", id="any"),
        pytest.param(TWO_CELLS | {"hw:numa_nodes": "3"}, "hw:cpu_policy", id="a policy without a layout that follows"),
        pytest.param(
            {key: value for key, value in TWO_CELLS.items() if key != "hw:cpu_policy"} | {"hw:numa_nodes": "3"},
            "hw:numa_cpus.0",
            id="another number of nodes",
        ),
        pytest.param(TWO_CELLS | {"hw:numa_cpus.2": "3"}, "hw:numa_cpus.2", id="a node too many"),
        pytest.param(TWO_CELLS | {"hw:cpu_policy": "mixed"}, "hw:cpu_policy", id="another CPU policy"),
        pytest.param(TWO_CELLS | {"hw:cpu_thread_policy": "isolate"}, "hw:cpu_thread_policy", id="a thread policy"),
        pytest.param(TWO_CELLS | {"resources:PCPU": "3"}, "resources:PCPU", id="PCPU"),
        pytest.param(MIXED | {"hw:cpu_policy": "dedicated"}, "hw:cpu_dedicated_mask", id="none floats for Nova"),
        pytest.param(without(MIXED, "hw:cpu_dedicated_mask"), "hw:cpu_policy", id="mixed without a mask"),
        pytest.param(without(MIXED, "hw:cpu_policy"), "hw:cpu_dedicated_mask", id="a mask of CPUs alone"),
        pytest.param(MIXED | {"hw:cpu_dedicated_mask": "^0"}, "hw:cpu_dedicated_mask", id="a mask of those that float"),
        pytest.param(
            without(MIXED, "resources_KONGMING0:CUSTOM_KONGMING_VCPU"), "hw:cpu_dedicated_mask", id="none has claimed"
        ),
        pytest.param(
            MIXED_REALTIME | {"hw:cpu_dedicated_mask": "1-3"}, "hw:cpu_dedicated_mask", id="two masks for one set"
        ),
        pytest.param(
            LOCAL | {"hw:pci_numa_affinity_policy": "preferred"}, "hw:pci_numa_affinity_policy", id="devices elsewhere"
        ),
        pytest.param(without(REALTIME, "hw:cpu_policy"), "hw:cpu_realtime", id="real time without pinning"),
        pytest.param(REALTIME | {"hw:cpu_realtime": "no"}, "hw:cpu_policy", id="no real time"),
        pytest.param(without(REALTIME, "hw:cpu_realtime_mask"), "hw:cpu_policy", id="real time without its vCPUs"),
        pytest.param(REALTIME | {"hw:cpu_realtime_mask": "^0"}, "hw:cpu_policy", id="a mask of those that do not"),
        pytest.param(
            REALTIME | {"hw:emulator_threads_policy": "share"},
            "hw:emulator_threads_policy",
            id="an emulator elsewhere",
        ),
        pytest.param(
            REALTIME | {"resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1"}, "hw:cpu_policy", id="real time on two nodes"
        ),
        pytest.param(TWO_CELLS | {"hw:cpu_realtime_mask": "1"}, "hw:cpu_realtime_mask", id="a mask alone"),
    ],
)
def test_what_contradicts_the_groups_clashes(specs: dict[str, str], key: str) -> None:
    """And is refused by its name."""
    assert key == find_clash(specs)
    with pytest.raises(InvalidRequest) as caught:
        PinningRequest.from_extra_specs(specs)
    assert key == caught.value.key


def test_large_is_refused_with_its_reason() -> None:
    """Nova keeps the size that it tries first, whatever the node has."""
    with pytest.raises(InvalidRequest, match="is large, which sticks to the size that Nova tries first"):
        PinningRequest.from_extra_specs(ONE_CELL | {"hw:mem_page_size": "large"})


@pytest.mark.parametrize(
    ("specs", "key", "reason"),
    [
        pytest.param(REALTIME | {"hw:cpu_realtime_mask": "3-1"}, "hw:cpu_realtime_mask", "", id="a mask backwards"),
        pytest.param(
            {key: value for key, value in ONE_CELL.items() if key != "hw:mem_page_size"},
            "hw:mem_page_size",
            "is missing, and the flavor takes pages of 2MiB",
            id="no size",
        ),
        pytest.param(
            ONE_CELL | {"resources_KONGMING1:CUSTOM_KONGMING_PAGES_2MIB": "1"},
            "hw:numa_nodes",
            "is missing, and the flavor takes pages on several nodes",
            id="pages on two nodes",
        ),
        pytest.param(
            ONE_CELL | {"resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1"},
            "resources_KONGMING1:*",
            "takes memory in pages of another size",
            id="one cell with pages and one without",
        ),
        pytest.param(
            without(LOCAL, "hw:pci_numa_affinity_policy", "hw:cpu_policy"),
            "hw:pci_numa_affinity_policy",
            "is missing, and kongming:devices is local",
            id="local devices of which Nova does not know",
        ),
        pytest.param(
            without(LOCAL, "hw:cpu_policy"),
            "hw:numa_nodes",
            "is missing, as is hw:cpu_policy, and Nova knows no node whose devices the server may have",
            id="local devices of no node",
        ),
        pytest.param(
            LOCAL | {"resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1"},
            "hw:numa_nodes",
            "is missing, and the flavor takes devices of several nodes",
            id="devices of two nodes",
        ),
        pytest.param(
            LOCAL | {"kongming:devices": "near"}, "kongming:devices", "'near' is not local", id="devices near"
        ),
        pytest.param(
            TWO_CELLS | {"hw:numa_mem.1": "86"},
            "hw:numa_mem.1",
            "is '86', and the cell takes 85 MiB of its node",
            id="another memory",
        ),
        pytest.param(TWO_CELLS | {"hw:numa_cpus.1": "x"}, "hw:numa_cpus.1", "", id="no vCPUs"),
    ],
)
def test_what_nova_would_lay_out_otherwise_is_refused(specs: dict[str, str], key: str, reason: str) -> None:
    """The key is named, and what the groups say."""
    with pytest.raises(InvalidRequest) as caught:
        PinningRequest.from_extra_specs(specs)
    assert key == caught.value.key
    assert reason in caught.value.reason

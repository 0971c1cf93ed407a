# SPDX-License-Identifier: Apache-2.0
"""A template as a flavor's extra specs: what each cell takes, what is written, and what is taken off again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.exceptions import InvalidRequest
from kongming_sched.nova_numa.keys import NovaCpuPolicy
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests, check_request, extra_specs, owned_keys, share_memory
from kongming_sched.request import CellRequest, PinningRequest
from kongming_sched.template import CpuPolicy, MemoryPolicy, PinningTemplate
from tests.unit.strategies import templates


def make(*cells: Mapping[str, object], name: str = "gold") -> PinningTemplate:
    """A template of these cells, dedicated unless they say otherwise."""
    return PinningTemplate.from_mapping({"name": name, "cells": [{"cpus": "dedicated", **cell} for cell in cells]})


def wide(*cells: Mapping[str, object]) -> PinningTemplate:
    """A template of these cells, dedicated unless they say otherwise, whose guest sees its nodes."""
    data = {"name": "wide", "guest_numa": "visible", "cells": [{"cpus": "dedicated", **cell} for cell in cells]}
    return PinningTemplate.from_mapping(data)


def specs(
    template: PinningTemplate, present: Mapping[str, str] | None = None, memory_mb: int = 2048, threads: int | None = 2
) -> dict[str, str]:
    """The extra specs of a flavor that has as many vCPUs as the template."""
    return extra_specs(template, present or {}, vcpus=template.vcpus, memory_mb=memory_mb, threads_per_core=threads)


# What a cell takes


@pytest.mark.parametrize(
    ("cell", "resources", "required"),
    [
        pytest.param({"vcpus": "0-3"}, {names.PCPU: 4}, set(), id="any"),
        pytest.param({"vcpus": "0-3", "threads": "prefer"}, {names.PCPU: 4}, set(), id="prefer"),
        pytest.param({"vcpus": "0-2", "threads": "require"}, {names.PCPU: 4}, {"CUSTOM_KONGMING_SMT_2"}, id="require"),
        pytest.param({"vcpus": "0-2", "threads": "isolate"}, {names.PCPU: 6}, {"CUSTOM_KONGMING_SMT_2"}, id="isolate"),
        pytest.param(
            {"vcpus": "0-3", "threads": "isolate", "caches": "one"},
            {names.PCPU: 8, "CUSTOM_KONGMING_CACHE_2": 2, "CUSTOM_KONGMING_CACHE_4": 1},
            {"CUSTOM_KONGMING_SMT_2"},
            id="four cores of one cache",
        ),
        pytest.param(
            {"vcpus": "0-4", "threads": "require", "caches": "one"},
            {names.PCPU: 6, "CUSTOM_KONGMING_CACHE_3": 1},
            {"CUSTOM_KONGMING_SMT_2"},
            id="three cores of one cache",
        ),
        pytest.param({"vcpus": "0-3", "cpus": "shared"}, {names.VCPU: 4}, set(), id="shared"),
        pytest.param({"vcpus": "0-3", "shared_vcpus": "0"}, {names.PCPU: 3, names.VCPU: 1}, set(), id="mixed"),
        pytest.param(
            {"vcpus": "0-3", "cpus": "explicit", "pins": "8-15"},
            {"CUSTOM_KONGMING_SLOT_GOLD": 1},
            set(),
            id="explicit",
        ),
        pytest.param({"vcpus": "0-3", "node": 3}, {names.PCPU: 4}, {"CUSTOM_KONGMING_NODE_3"}, id="one node only"),
    ],
)
def test_a_cell_takes_what_its_policy_counts(
    cell: dict[str, object], resources: dict[str, int], required: set[str]
) -> None:
    """On hosts of two threads per core, with its memory, where its template is offered."""
    expected = CellRequest(
        "_KONGMING0",
        {**resources, names.MEMORY_MB: 2048},
        frozenset({"CUSTOM_KONGMING_TEMPLATE_GOLD", *required}),
    )
    assert (expected,) == cell_requests(make(cell), 2048, 2)


@pytest.mark.parametrize(
    ("cell", "resources"),
    [
        pytest.param({"vcpus": "0-3"}, {names.PCPU: 5}, id="any"),
        pytest.param({"vcpus": "0-2", "threads": "require"}, {names.PCPU: 6}, id="require"),
        pytest.param({"vcpus": "0-2", "threads": "isolate"}, {names.PCPU: 8}, id="isolate"),
        pytest.param({"vcpus": "0-3", "cpus": "shared"}, {names.VCPU: 4, names.PCPU: 1}, id="shared"),
        pytest.param(
            {"vcpus": "0", "cpus": "explicit", "pins": "8"},
            {"CUSTOM_KONGMING_SLOT_GOLD": 1, names.PCPU: 1},
            id="explicit",
        ),
    ],
)
def test_the_first_cell_takes_a_cpu_for_an_emulator_of_its_own(
    cell: dict[str, object], resources: dict[str, int]
) -> None:
    """A whole core if it takes whole cores; the other cells take what they always take."""
    second = {"vcpus": "4" if cell["vcpus"] == "0-3" else "3" if cell["vcpus"] == "0-2" else "1", "cpus": "dedicated"}
    cells = [{"cpus": "dedicated", **cell}, second]
    template = PinningTemplate.from_mapping({"name": "gold", "cells": cells, "emulator": "own"})

    assert [resources, {names.PCPU: 1}] == [item.resources for item in cell_requests(template, 0, 2)]


@pytest.mark.parametrize(("threads", "expected"), [(1, 3), (2, 6), (4, 12)])
def test_isolate_counts_every_thread_of_its_cores(threads: int, expected: int) -> None:
    """And requires hosts whose cores are so wide, so that the count is exact wherever the server lands."""
    (request,) = cell_requests(make({"vcpus": "0-2", "threads": "isolate"}), 2048, threads)
    assert expected == request.resources[names.PCPU]
    assert f"CUSTOM_KONGMING_SMT_{threads}" in request.required


def test_memory_that_may_lie_anywhere_is_not_taken_from_a_node() -> None:
    """Nova takes it from the compute node as always."""
    (request,) = cell_requests(make({"vcpus": "0", "memory": "none"}), 2048, None)
    assert {names.PCPU: 1} == request.resources


@pytest.mark.parametrize("threads", ["require", "isolate"])
def test_whole_cores_cannot_be_counted_without_their_width(threads: str) -> None:
    """The error names the key that cannot be written."""
    template = make({"vcpus": "0"}, {"vcpus": "1", "threads": threads})
    with pytest.raises(InvalidRequest, match="threads per core of the hosts are not known") as caught:
        cell_requests(template, 2048, None)
    assert "resources_KONGMING1:CUSTOM_KONGMING_PCPU" == caught.value.key


@pytest.mark.parametrize("threads", ["any", "prefer"])
def test_single_threads_are_counted_without_the_width_of_cores(threads: str) -> None:
    """Such a flavor fits hosts of every kind."""
    (request,) = cell_requests(make({"vcpus": "0-3", "threads": threads}), 2048, None)
    assert 4 == request.resources[names.PCPU]


# Memory


@pytest.mark.parametrize(
    ("sizes", "memory_mb", "expected"),
    [
        pytest.param([4], 2048, (2048,), id="one cell"),
        pytest.param([2, 2], 2048, (1024, 1024), id="equal cells"),
        pytest.param([3, 1], 2048, (1536, 512), id="by vCPUs"),
        pytest.param([1, 1, 1], 1000, (334, 333, 333), id="the first take what is left over"),
        pytest.param([1, 1], 1, (1, 0), id="less than a MiB each"),
    ],
)
def test_memory_is_shared_out_by_vcpus(sizes: list[int], memory_mb: int, expected: tuple[int, ...]) -> None:
    """In MiB."""
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    cells = [{"vcpus": f"{start}-{start + size - 1}"} for start, size in zip(starts, sizes, strict=True)]
    assert expected == share_memory(make(*cells), memory_mb)


def memory_of(template: PinningTemplate, units: int) -> int:
    """Memory in MiB that a flavor of the template can have: so many MiB or huge pages, and one for each vCPU."""
    unit_mb = max(template.pages.kib // 1024, 1) if template.pages else 1
    return (units + (template.vcpus if template.needs_nova_numa else 0)) * unit_mb


@given(templates(), st.integers(1, 2**20))
def test_no_memory_is_lost(template: PinningTemplate, units: int) -> None:
    """The shares add up to the flavor's memory, and none is more than one MiB or one huge page off."""
    unit_mb = max(template.pages.kib // 1024, 1) if template.pages else 1
    memory_mb = memory_of(template, units)
    shares = share_memory(template, memory_mb)
    assert memory_mb == sum(shares)
    for share, cell in zip(shares, template.cells, strict=True):
        assert abs(share - memory_mb * len(cell.vcpus) / template.vcpus) <= unit_mb
        assert 0 == share % unit_mb


def test_memory_that_makes_no_whole_pages_is_refused() -> None:
    """The flavor's memory is named, and the size of a page."""
    words = r"2049 MiB of memory are no whole number of pages of 2MiB; make it 2048 or 2050 MiB"
    with pytest.raises(InvalidRequest, match=words) as caught:
        share_memory(make({"vcpus": "0", "pages": "2MiB"}), 2049)
    assert "ram" == caught.value.key


def test_a_cell_without_memory_is_refused_where_nova_lays_it_out() -> None:
    """One page is too little for two cells."""
    with pytest.raises(InvalidRequest, match="2048 MiB leave cell 1 no memory"):
        share_memory(wide({"vcpus": "0", "pages": "2GiB"}, {"vcpus": "1", "pages": "2GiB"}), 2048)


# What Nova lays out itself


def test_pages_are_taken_instead_of_memory() -> None:
    """As many as make up the cell's memory; Nova knows their size, and pins at the start if no cell is shared."""
    written = specs(make({"vcpus": "0-1", "pages": "2MiB"}))
    assert "1024" == written["resources_KONGMING0:CUSTOM_KONGMING_PAGES_2MIB"]
    assert "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB" not in written
    assert {"hw:mem_page_size": "2MB", "hw:cpu_policy": "dedicated"} == _novas(written)


def test_visible_cells_are_nodes_of_the_guest() -> None:
    """Nova's keys name the vCPUs and the memory of each; a shared cell is not pinned by Nova."""
    written = specs(wide({"vcpus": "0-1,4"}, {"vcpus": "2-3", "cpus": "shared", "node": 1}), memory_mb=1000)
    assert {
        "hw:numa_nodes": "2",
        "hw:numa_cpus.0": "0-1,4",
        "hw:numa_cpus.1": "2-3",
        "hw:numa_mem.0": "600",
        "hw:numa_mem.1": "400",
    } == _novas(written)


def realtime(vcpus: str, emulator: str = "shared", **cell: object) -> PinningTemplate:
    """A template of one cell of four vCPUs, of which these run in real time."""
    cells = [{"vcpus": "0-3", "cpus": "dedicated", **cell}]
    data = {"name": "ran", "cells": cells, "emulator": emulator, "realtime": {"vcpus": vcpus, "priority": 7}}
    return PinningTemplate.from_mapping(data)


@pytest.mark.parametrize(
    ("template", "more"),
    [
        pytest.param(realtime("1-3"), {"hw:cpu_realtime_mask": "1-3"}, id="one vCPU is left"),
        pytest.param(
            realtime("0-3", "own"),
            {"hw:cpu_realtime_mask": "0-3", "hw:emulator_threads_policy": "isolate"},
            id="the emulator has its own CPU",
        ),
        pytest.param(
            realtime("1,3", pages="2MiB"),
            {"hw:cpu_realtime_mask": "1,3", "hw:mem_page_size": "2MB", "hw:locked_memory": "true"},
            id="Nova takes the key of locked memory with pages",
        ),
    ],
)
def test_real_time_is_for_nova_to_start(template: PinningTemplate, more: dict[str, str]) -> None:
    """It knows no priority of single servers, so that the agent sets that."""
    expected = {"hw:cpu_policy": "dedicated", "hw:cpu_realtime": "true", **more}
    assert expected == _novas(specs(template))


@pytest.mark.parametrize(
    ("template", "present"),
    [(realtime("1-3"), {"hw:locked_memory": "no"}), (realtime("1-3", pages="2MiB"), {"hw:locked_memory": "false"})],
    ids=["usual pages", "huge pages"],
)
def test_memory_that_shall_not_be_locked_contradicts_real_time(
    template: PinningTemplate, present: dict[str, str]
) -> None:
    """The key is named."""
    with pytest.raises(InvalidRequest, match="the memory of real-time servers is locked; unset it") as caught:
        specs(template, present)
    assert "hw:locked_memory" == caught.value.key


def test_an_interrupted_change_leaves_no_key_of_real_time() -> None:
    """Locked memory that an operator wants of other servers stays."""
    written = specs(realtime("1-3", "own", pages="2MiB")) | {"kongming:template": "(being changed)"}
    assert {} == _novas({key: value for key, value in written.items() if key not in owned_keys(written)})
    paged = specs(make({"vcpus": "0", "pages": "2MiB"}))
    present = paged | {"kongming:template": "(being changed)", "hw:locked_memory": "true"}
    assert "hw:locked_memory" not in owned_keys(present)


def test_nova_need_not_pin() -> None:
    """For hosts whose pool is in none of Nova's sets."""
    template = make({"vcpus": "0", "pages": "2MiB"})
    written = extra_specs(template, {}, vcpus=1, memory_mb=256, cpu_policy=NovaCpuPolicy.SHARED)
    assert {"hw:mem_page_size": "2MB"} == _novas(written)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            make({"vcpus": "0-3", "shared_vcpus": "0", "pages": "2MiB"}),
            {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "1-3", "hw:mem_page_size": "2MB"},
            id="of a server that it lays out",
        ),
        pytest.param(
            realtime("1-3", "own", shared_vcpus="0"),
            {
                "hw:cpu_policy": "mixed",
                "hw:cpu_realtime": "true",
                "hw:cpu_realtime_mask": "1-3",
                "hw:emulator_threads_policy": "isolate",
            },
            id="in real time",
        ),
        pytest.param(make({"vcpus": "0-3", "shared_vcpus": "0"}), {}, id="of another server"),
    ],
)
def test_nova_knows_which_vcpus_float(template: PinningTemplate, expected: dict[str, str]) -> None:
    """It would take a dedicated CPU for each of them otherwise."""
    assert expected == _novas(specs(template))


def test_nova_need_not_pin_a_mixed_cell() -> None:
    """On hosts whose pool is in none of its sets it pins none."""
    template = make({"vcpus": "0-3", "shared_vcpus": "0", "pages": "2MiB"})
    written = extra_specs(template, {}, vcpus=4, memory_mb=256, cpu_policy=NovaCpuPolicy.SHARED)
    assert {"hw:mem_page_size": "2MB"} == _novas(written)


LOCAL = {"kongming:devices": "local", "hw:pci_numa_affinity_policy": "required"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(make({"vcpus": "0-3", "devices": "local"}), {"hw:cpu_policy": "dedicated"}, id="dedicated"),
        pytest.param(
            make({"vcpus": "0-3", "cpus": "shared", "devices": "local"}),
            {"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "2048"},
            id="a node is named where nothing else makes Nova lay the server out",
        ),
        pytest.param(
            make({"vcpus": "0-3", "cpus": "shared", "devices": "local", "pages": "2MiB"}),
            {"hw:mem_page_size": "2MB"},
            id="its pages do",
        ),
    ],
)
def test_nova_takes_devices_of_the_node(template: PinningTemplate, expected: dict[str, str]) -> None:
    """And of no other; the flavor shows that its policy for devices follows from the template."""
    written = specs(template)
    assert LOCAL | expected == _novas(written) | {"kongming:devices": written["kongming:devices"]}
    request = PinningRequest.from_extra_specs(written)
    assert request is not None
    assert request.nova_numa is not None
    assert request.nova_numa.has_local_devices
    assert {} == {key: value for key, value in written.items() if key not in owned_keys(written)}


def test_another_policy_for_devices_contradicts_local_ones() -> None:
    """The key is named, and what to do; without local devices it is the operator's."""
    present = {"hw:pci_numa_affinity_policy": "preferred"}  # one that an operator has written
    with pytest.raises(InvalidRequest, match="is preferred, and required follows from devices: local of") as caught:
        specs(make({"vcpus": "0-3", "devices": "local"}), present)
    assert "hw:pci_numa_affinity_policy" == caught.value.key
    assert "hw:pci_numa_affinity_policy" not in owned_keys(present | specs(make({"vcpus": "0-3"}), present))


def test_an_interrupted_change_leaves_no_key_of_devices() -> None:
    """The policy that an operator gave other servers stays."""
    written = specs(make({"vcpus": "0-3", "devices": "local"})) | {"kongming:template": "(being changed)"}
    assert {} == {key: value for key, value in written.items() if key not in owned_keys(written)}
    present = specs(make({"vcpus": "0"})) | {
        "kongming:template": "(being changed)",
        "hw:pci_numa_affinity_policy": "required",
    }
    assert "hw:pci_numa_affinity_policy" not in owned_keys(present)


def test_nova_must_pin_what_runs_in_real_time() -> None:
    """It refuses the keys otherwise."""
    with pytest.raises(InvalidRequest, match="cannot be shared, for the template has realtime"):
        extra_specs(realtime("1-3"), {}, vcpus=4, memory_mb=256, cpu_policy=NovaCpuPolicy.SHARED)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param(
            make({"vcpus": "0"}),
            "has no pages, realtime, devices: local or guest_numa: visible",
            id="Nova knows no node",
        ),
        pytest.param(
            make({"vcpus": "0", "cpus": "shared", "pages": "2MiB"}), "the template has shared cells", id="a shared cell"
        ),
    ],
)
def test_nova_cannot_pin_what_it_does_not_lay_out(template: PinningTemplate, reason: str) -> None:
    """The key is named."""
    with pytest.raises(InvalidRequest, match=reason) as caught:
        extra_specs(template, {}, vcpus=1, memory_mb=256, cpu_policy=NovaCpuPolicy.DEDICATED)
    assert "hw:cpu_policy" == caught.value.key


def test_a_key_that_follows_may_stand_there_before() -> None:
    """One that contradicts the template may not."""
    template = make({"vcpus": "0", "pages": "2MiB"})
    assert "2MB" == specs(template, {"hw:mem_page_size": "2MB"})["hw:mem_page_size"]
    for size in ("1GB", "large"):
        with pytest.raises(InvalidRequest) as caught:
            specs(template, {"hw:mem_page_size": size})
        assert "hw:mem_page_size" == caught.value.key


@given(templates())
def test_whatever_is_written_is_taken_off_again(template: PinningTemplate) -> None:
    """Nova's keys with the others, and as the scheduler reads them they contradict nothing."""
    written = specs(template)
    assert sorted(written) == owned_keys({**written, "hw:watchdog_action": "reset"})
    request = PinningRequest.from_extra_specs(written)
    assert request is not None
    assert template.needs_nova_numa is (request.nova_numa is not None)


def _novas(written: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in written.items() if key.startswith("hw:")}


# What is written


def test_a_flavor_gets_plain_extra_specs() -> None:
    """Which an operator may write by hand as well."""
    template = make({"vcpus": "0-1", "threads": "isolate"}, {"vcpus": "2", "node": 1})
    expected = {
        "kongming:template": "gold",
        "resources:VCPU": "0",
        "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "4",
        "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "1366",
        "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
        "trait_KONGMING0:CUSTOM_KONGMING_SMT_2": "required",
        "resources_KONGMING1:CUSTOM_KONGMING_PCPU": "1",
        "resources_KONGMING1:CUSTOM_KONGMING_MEMORY_MB": "682",
        "trait_KONGMING1:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
        "trait_KONGMING1:CUSTOM_KONGMING_NODE_1": "required",
        "group_policy": "isolate",
    }
    assert expected == specs(template)


@pytest.mark.parametrize(
    ("cells", "present", "expected"),
    [
        pytest.param(1, {}, None, id="one group needs none"),
        pytest.param(2, {}, "isolate", id="two cells are on different nodes"),
        pytest.param(2, {"group_policy": "none"}, None, id="the operator's stays"),
        pytest.param(2, {"resources1:VGPU": "1"}, "none", id="two beside the flavor's own group"),
        pytest.param(2, {"accel:device_profile": "gpu"}, "none", id="two beside those of accelerators"),
        pytest.param(2, {"pci_passthrough:alias": "nic:2"}, "none", id="two beside those of PCI devices"),
        pytest.param(1, {"resources1:VGPU": "1"}, "none", id="one beside the flavor's own group"),
        pytest.param(1, {"resources_GPU:VGPU": "1"}, "none", id="one beside the flavor's own named group"),
        pytest.param(1, {"resources:VGPU": "1"}, None, id="what is in no group does not count"),
        pytest.param(1, {"resources_KONGMING1:VGPU": "1"}, None, id="an old group of ours does not count"),
    ],
)
def test_two_groups_get_a_group_policy(cells: int, present: dict[str, str], expected: str | None) -> None:
    """Placement refuses a request of two granular groups without one, and the server would find no host."""
    template = make(*({"vcpus": str(cell)} for cell in range(cells)))
    assert expected == specs(template, present).get("group_policy")


@given(templates(), st.integers(1, 2**20), st.sampled_from([1, 2, 4]))
def test_what_is_written_is_read_back_as_the_request(template: PinningTemplate, units: int, threads: int) -> None:
    """The scheduler sees the very cells that were counted, and Nova lays out the same."""
    memory_mb = memory_of(template, units)
    request = PinningRequest.from_extra_specs(specs(template, None, memory_mb, threads))
    assert request is not None
    assert cell_requests(template, memory_mb, threads) == request.cells
    assert template.name == request.template
    check_request(request)
    if request.nova_numa is not None:
        assert [cell.memory_mb for cell in request.cells] == [cell.memory_mb for cell in request.nova_numa.cells]
        assert (template.pages.kib if template.pages else None) == request.nova_numa.page_kib


@given(templates(), st.integers(1, 2**20))
def test_every_group_asks_for_something(template: PinningTemplate, units: int) -> None:
    """Nova and Placement refuse a group that has traits and no resource."""
    requests = cell_requests(template, memory_of(template, units), 2)
    for request, cell in zip(requests, template.cells, strict=True):
        assert all(amount > 0 for amount in request.resources.values())
        cpus = {CpuPolicy.DEDICATED: names.PCPU, CpuPolicy.SHARED: names.VCPU}
        assert cpus.get(cell.cpus, names.slot_class(template.name)) in request.resources
        assert (names.MEMORY_MB in request.resources) <= (cell.memory is MemoryPolicy.STRICT)


# What is refused


@pytest.mark.parametrize(
    ("present", "vcpus", "key", "reason"),
    [
        pytest.param({}, 3, "vcpus", "has 3 vCPUs and template 'gold' has 4; make a flavor of 4", id="too few vCPUs"),
        pytest.param({}, 5, "vcpus", "'gold' has 4; make a flavor of 4, or name a template of 5", id="too many vCPUs"),
        pytest.param(
            {"resources:MEMORY_MB": "0"}, 4, "resources:MEMORY_MB", "must not be 0", id="nothing left on the root"
        ),
        pytest.param({"hw:cpu_policy": "dedicated"}, 4, "hw:cpu_policy", "unset it first", id="Nova's own pinning"),
        pytest.param({"resources:PCPU": "4"}, 4, "resources:PCPU", "unset it first", id="Nova's own dedicated CPUs"),
        pytest.param({"hw:numa_nodes": "2"}, 4, "hw:numa_nodes", "unset it first", id="a guest NUMA topology"),
    ],
)
def test_a_flavor_that_cannot_work_is_refused(present: dict[str, str], vcpus: int, key: str, reason: str) -> None:
    """Before anything is written, with the key that stands in the way."""
    with pytest.raises(InvalidRequest) as caught:
        extra_specs(make({"vcpus": "0-3"}), present, vcpus=vcpus, memory_mb=2048)
    assert key == caught.value.key
    assert reason in caught.value.reason


# What is taken off again


@given(templates(), st.sampled_from([{}, {"hw_rng:allowed": "True"}, {"trait:HW_CPU_X86_AVX2": "required"}]))
def test_everything_that_was_written_is_owned(template: PinningTemplate, present: dict[str, str]) -> None:
    """And nothing else, so that unset leaves the flavor as it was."""
    written = specs(template, present)
    flavor = present | written
    assert sorted(written) == owned_keys(flavor)
    assert present == {key: value for key, value in flavor.items() if key not in owned_keys(flavor)}


@pytest.mark.parametrize(
    "present",
    [
        pytest.param({"resources:VCPU": "4"}, id="another count of vCPUs"),
        pytest.param({"group_policy": "isolate"}, id="another group policy"),
        pytest.param(
            {"group_policy": "none", "resources1:VGPU": "1", "resources2:FPGA": "1"}, id="two own numbered groups"
        ),
        pytest.param(
            {"group_policy": "none", "resources_A:VGPU": "1", "resources_B:FPGA": "1"}, id="two own named groups"
        ),
        pytest.param({"resources_OTHER:CUSTOM_X": "1", "hw:cpu_sockets": "1"}, id="what is none of ours"),
    ],
)
def test_what_an_operator_wrote_stays(present: dict[str, str]) -> None:
    """Also in a flavor that names a template."""
    assert ["kongming:template"] == owned_keys({**present, "kongming:template": "gold"})


@pytest.mark.parametrize(
    ("present", "owned"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"resources:VCPU": "0", "resources:CUSTOM_BAREMETAL": "1"}, [], id="bare metal"),
        pytest.param({"kongming:numa_strategy": "pack"}, ["kongming:numa_strategy"], id="the strategy alone"),
        pytest.param(
            {"kongming:template": "gold", "group_policy": "none", "resources1:VGPU": "1"},
            ["group_policy", "kongming:template"],
            id="a group policy that a single own group does not need",
        ),
        pytest.param(
            {"group_policy": "isolate", "resources_KONGMING0:CUSTOM_X": "1", "resources_KONGMING1:CUSTOM_X": "1"},
            ["group_policy", "resources_KONGMING0:CUSTOM_X", "resources_KONGMING1:CUSTOM_X"],
            id="a group policy for two cells",
        ),
        pytest.param(
            {"resources_KONGMING7:CUSTOM_X": "1", "trait_KONGMING7:CUSTOM_Y": "required", "resources:VCPU": "0"},
            ["resources:VCPU", "resources_KONGMING7:CUSTOM_X", "trait_KONGMING7:CUSTOM_Y"],
            id="a group of an older template",
        ),
    ],
)
def test_what_kongming_wrote_is_taken_off(present: dict[str, str], owned: list[str]) -> None:
    """Also what is left of another template."""
    assert owned == owned_keys(present)


# What the scheduler checks


def test_a_request_that_requires_its_template_everywhere_is_fine() -> None:
    """As `openstack kongming flavor set` writes it."""
    request = PinningRequest.from_extra_specs(specs(make({"vcpus": "0"}, {"vcpus": "1"})))
    assert request is not None
    assert check_request(request) is None


@pytest.mark.parametrize("group", ["_KONGMING0", "_KONGMING1"])
def test_a_request_that_does_not_require_its_template_is_refused(group: str) -> None:
    """A server would land on nodes that do not offer it; the error names the key and the command."""
    key = f"trait{group}:CUSTOM_KONGMING_TEMPLATE_GOLD"
    flavor = specs(make({"vcpus": "0"}, {"vcpus": "1"}))
    del flavor[key]
    request = PinningRequest.from_extra_specs(flavor)
    assert request is not None
    with pytest.raises(InvalidRequest, match="openstack kongming flavor set FLAVOR --template gold") as caught:
        check_request(request)
    assert key == caught.value.key


def test_another_trait_does_not_stand_for_the_template() -> None:
    """A group that requires some other trait of its node is refused like one that requires none."""
    key = "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD"
    flavor = specs(make({"vcpus": "0"})) | {"trait_KONGMING0:CUSTOM_FAST": "required"}
    del flavor[key]
    request = PinningRequest.from_extra_specs(flavor)
    assert request is not None
    with pytest.raises(InvalidRequest) as caught:
        check_request(request)
    assert key == caught.value.key

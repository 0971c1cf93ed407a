# SPDX-License-Identifier: Apache-2.0
"""What an operator reads who asks for huge pages, visible nodes or devices that cannot be, before anything is written.

Through the real shell, against the real Placement and Nova API.
"""

from __future__ import annotations

import pytest

from kongming_sched.nova_numa.markers import why_not_led
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HugePages, PagesByNode
from testbed.topologies import pools, two_nodes_no_smt
from tests.functional.cli.conftest import Nova, Write
from tests.functional.cli.shell import Done, Shell
from tests.functional.cli.state import unchanged
from tests.functional.conftest import PlacementService

HOST = "c0c0c0c0-0000-4000-8000-00000000000a"
PAGES = {0: (HugePages(2048, 100),), 1: (HugePages(2048, 60),)}
CELL = "vcpus: 0-1, cpus: dedicated"
TEMPLATES = {
    "small": f"cells: [{{{CELL}, pages: 2MiB}}]",
    "giant": f"cells: [{{{CELL}, pages: 1GiB}}]",
    "ran": f'realtime: {{vcpus: "1"}}\ncells: [{{{CELL}, pages: 2MiB}}]',
    "dpdk": f'guest_numa: visible\ncells: [{{{CELL}, pages: 2MiB}}, {{vcpus: "2", cpus: dedicated, pages: 2MiB}}]',
}


@pytest.fixture
def openstack(openstack_with_nova: Shell, write: Write, placement: PlacementService) -> Shell:
    """The command of a cloud with templates and a host, whose nodes have 100 and 60 pages of 2 MiB."""
    for name, body in TEMPLATES.items():
        assert openstack_with_nova("kongming template create --file", write(f"name: {name}\n{body}\n")).code == 0
    placement.add_host("c1", HOST)
    register(placement, PAGES)
    return openstack_with_nova


def register(placement: PlacementService, pages: PagesByNode, why_not_led: str = "") -> None:
    """Write the host's nodes as its agent does."""
    registry = NodeRegistry(placement.client, "c1")
    root, _, states = registry.observe()
    stored = TemplateStore(placement.client).list().templates.values()
    cpus = HostCpus(two_nodes_no_smt(), pools("1-3,5-7", housekeeping="0,4"), pages, why_not_led)
    tree = desired_tree(root.uuid, root.name, cpus, [item.template for item in stored], states)
    registry.write(root, tree.nodes, states)


def reason(done: Done) -> str:
    """The reason for the only host, as one line."""
    assert 0 == done.code
    return " ".join(done.out.split("\n")[3].strip("| ").split("|")[-1].split())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            f"cells: [{{{CELL}, pages: large}}]", "cells[0].pages: 'large' is none of 64KiB, 1MiB, 2MiB", id="large"
        ),
        pytest.param(f"cells: [{{{CELL}, pages: any}}]", "cells[0].pages: 'any' is none of 64KiB, 1MiB", id="any"),
        pytest.param(
            f'guest_numa: visible\ncells: [{{{CELL}, pages: 2MiB}}, {{vcpus: "2", cpus: dedicated, pages: 1GiB}}]',
            "cells[1].pages: is 1GiB and that of cell 0 is 2MiB; Nova gives a server one size",
            id="two sizes",
        ),
        pytest.param(
            f'cells: [{{{CELL}, pages: 2MiB}}, {{vcpus: "2", cpus: dedicated, pages: 2MiB}}]',
            "guest_numa: must be visible for pages in several cells",
            id="cells that the guest does not see",
        ),
        pytest.param(
            f'realtime: {{vcpus: "0-1"}}\ncells: [{{{CELL}}}]',
            "realtime.vcpus: leaves no dedicated vCPU on whose CPU QEMU's own threads can start, which would never run"
            " beside one that runs in real time; leave vCPU 0 out, or write emulator: own",
            id="no vCPU left for the emulator",
        ),
        pytest.param(
            f'realtime: {{vcpus: "0"}}\nguest_numa: visible\ncells: [{{{CELL}}}, {{vcpus: "2", cpus: shared}}]',
            "cells[1].cpus: cannot be shared with realtime, for Nova then gives every vCPU a host CPU of its own",
            id="real time beside a shared cell",
        ),
        pytest.param(
            f'realtime: {{vcpus: "2"}}\ncells: [{{{CELL}}}]',
            "realtime.vcpus: vCPU 2 is in no cell",
            id="real time of a vCPU that is not there",
        ),
        pytest.param(
            f'realtime: {{vcpus: "1", priority: 100}}\ncells: [{{{CELL}}}]',
            "realtime.priority: 100 is not a real-time priority from 1 to 99",
            id="a priority that the kernel has not",
        ),
    ],
)
def test_a_template_that_cannot_be(
    openstack: Shell, write: Write, placement: PlacementService, body: str, message: str
) -> None:
    """Its field is named, with the line of the file, and nothing is stored."""
    with unchanged(placement.client):
        done = openstack("kongming template create --file", write(f"name: wrong\n{body}\n"))
    assert (1, "") == (done.code, done.out)
    assert message in done.err


@pytest.mark.parametrize(
    ("template", "vcpus", "memory_mb", "specs", "message"),
    [
        pytest.param(
            "small", 2, 65, {}, "ram: 65 MiB of memory are no whole number of pages of 2MiB; make it 64 or 66"
        ),
        pytest.param(
            "small", 3, 96, {}, "has 3 vCPUs and template 'small' has 2; make a flavor of 2, or name a template"
        ),
        pytest.param("dpdk", 3, 2, {}, "ram: 2 MiB leave cell 1 no memory"),
        pytest.param(
            "small", 2, 64, {"hw:mem_page_size": "large"}, "hw:mem_page_size: is large, which sticks to the size"
        ),
        pytest.param(
            "small", 2, 64, {"hw:mem_page_size": "any"}, "unset it, and name the size in the template's cells"
        ),
        pytest.param(
            "small",
            2,
            64,
            {"hw:mem_page_size": "1GB"},
            "hw:mem_page_size: is 1GB, and 2MB follows from template 'small' and the flavor's memory; unset it first",
        ),
        pytest.param(
            "dpdk",
            3,
            96,
            {"hw:numa_nodes": "2", "hw:numa_mem.0": "48", "hw:numa_mem.1": "48"},
            "hw:numa_mem.0: is 48, and 64 follows from template 'dpdk' and the flavor's memory; unset it first",
        ),
        pytest.param(
            "dpdk", 3, 96, {"hw:numa_cpus.0": "0"}, "hw:numa_cpus.0: is 0, and 0-1 follows from template 'dpdk'"
        ),
        pytest.param(
            "ran",
            2,
            64,
            {"hw:cpu_realtime_mask": "^1"},
            "hw:cpu_realtime_mask: is ^1, and 1 follows from template 'ran' and the flavor's memory; unset it first",
        ),
        pytest.param("ran", 2, 64, {"hw:cpu_policy": "shared"}, "hw:cpu_policy: is shared, and dedicated follows"),
        pytest.param("ran", 2, 64, {"hw:cpu_policy": "mixed"}, "hw:cpu_policy: is mixed, and dedicated follows"),
    ],
)
def test_a_flavor_that_cannot_ask_for_its_template(
    openstack: Shell, nova: Nova, template: str, vcpus: int, memory_mb: int, specs: dict[str, str], message: str
) -> None:
    """What does not add up is named with what would, and the flavor stays as it is."""
    flavor = nova.create_flavor("f", vcpus, memory_mb, specs=specs)
    done = openstack(f"kongming flavor set f --template {template}")
    assert (1, "") == (done.code, done.out)
    assert done.err.startswith(f"flavor 'f' cannot ask for template '{template}': ")
    assert message in done.err
    assert specs == nova.extra_specs(flavor)


@pytest.mark.parametrize(
    ("template", "memory_mb", "warning", "explained"),
    [
        pytest.param(
            "giant",
            2048,
            "flavor f: cell 0 takes huge pages of 1GiB, and no NUMA node in Placement has any: reserve them on the"
            " kernel's command line of the hosts, or name another size in the template",
            "template 'giant': cell 0 asks for huge pages of 1GiB, and no node has any; reserve them on the host, or"
            " name another size in the template",
            id="a size that no host has",
        ),
        pytest.param(
            "small",
            202,
            "flavor f: cell 0 takes 101 huge pages of 2MiB, and the most that a NUMA node has is 100 (host c1, node 0):"
            " reserve more there, or give the flavor less memory",
            "cell 0: needs 101 huge pages of 2MiB on one node, and the most that is free on any node is 100 (node 0);"
            " no node has more than 100 in all: reserve more on the host, or give the flavor less memory",
            id="more than there are",
        ),
    ],
)
def test_pages_that_are_nowhere(
    openstack: Shell, nova: Nova, template: str, memory_mb: int, warning: str, explained: str
) -> None:
    """Are warned of before the flavor is written, for they may come later, and explained after."""
    flavor = nova.create_flavor("f", 2, memory_mb)
    done = openstack(f"kongming flavor set f --template {template} --dry-run")
    assert (0, warning) == (done.code, " ".join(done.err.split()))
    assert {} == nova.extra_specs(flavor)
    assert warning == " ".join(openstack(f"kongming flavor set f --template {template}").err.split())
    assert explained == reason(openstack("kongming explain --flavor f"))


def test_pages_that_are_there_are_not_warned_of(openstack: Shell, nova: Nova) -> None:
    """Nor is anything else printed."""
    nova.create_flavor("f", 2, 200)
    assert Done(0, "", "") == openstack("kongming flavor set f --template small")


@pytest.mark.parametrize("found", [{}, {"kongming_numa0": (0,), "kongming_numa1": (1,), "kongming_numa2": (2,)}])
def test_a_host_with_too_few_markers_or_too_many(
    openstack: Shell, nova: Nova, placement: PlacementService, found: dict[str, tuple[int, ...]]
) -> None:
    """Offers the template no more, and the command names the check that says why."""
    nova.create_flavor("f", 2, 64)
    assert 0 == openstack("kongming flavor set f --template small").code
    assert "-" == reason(openstack("kongming explain --flavor f"))
    register(placement, PAGES, why_not_led((0, 1), found))
    expected = (
        "template 'small': its nodes do not offer it: 'kongming-agent --check' on the host and its agent's log say why"
    )
    assert expected == reason(openstack("kongming explain --flavor f"))


def test_devices_are_not_counted(openstack: Shell, nova: Nova) -> None:
    """Which is said, and where it is said that no node has one."""
    nova.create_flavor("f", 2, 64, specs={"pci_passthrough:alias": "nic:1"})
    assert 0 == openstack("kongming flavor set f --template small").code
    done = openstack("kongming explain --flavor f")
    assert "-" == reason(done)
    assert "flavor f asks for devices (pci_passthrough:alias nic:1), which are not counted here" in done.err

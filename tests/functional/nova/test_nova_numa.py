# SPDX-License-Identifier: Apache-2.0
"""Servers that Nova itself lays out on NUMA nodes: its layout is on the nodes of the claim, after every action."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import fixtures
from nova import context as nova_context
from nova import objects
from nova.conf import neutron as neutron_conf
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt.driver import LibvirtDriver

from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.markers import marker
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools, HugePages
from kongming_sched.scheduler import worker
from kongming_sched.template import PinningTemplate
from testbed import topologies
from testbed.releases import fixtures as releases
from tests.functional.nova.cloud import POOLS, Cloud

PAGE_KIB = 2048
PAGES = 512
"""Huge pages on each node: as many as four servers of 256 MiB take."""
NODE_KB = 8390000
OTHER_MASK = "5f3c1e9a-0b7d-4e28-8c61-d2a4f7b0936e"
ONE_IS_LEFT = {"hw_cpu_realtime_mask": "^0"}
DISKS = "nova.virt.libvirt.driver.LibvirtDriver.migrate_disk_and_power_off"
OTHER_IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"


class NumaCloud(Cloud):
    """Hosts of two nodes with huge pages, whose dedicated pool is Nova's as well, and whose nodes have markers."""

    ADDITIONAL_FILTERS = (
        "KongmingTemplateFilter",
        "NUMATopologyFilter",
        "PciPassthroughFilter",
        "KongmingNumaFilter",
    )
    marked_nodes: tuple[int, ...] = (0, 1)
    pools = POOLS
    devices: Any = None

    def setUp(self) -> None:
        self.flags(cpu_dedicated_set=str(self.pools.dedicated), group="compute")
        self.flags(cpu_shared_set=str(self.pools.housekeeping), group="compute")
        self.flags(disable_fallback_pcpu_query=True, group="workarounds")
        self.flags(allow_resize_to_same_host=True)
        self.flags(physnets=[marker(node) for node in self.marked_nodes], group="neutron")
        neutron_conf.register_dynamic_opts(worker.CONF)
        for node in self.marked_nodes:
            self.flags(numa_nodes=[node], group=f"neutron_physnet_{marker(node)}")
        super().setUp()

    def add_host(self, name: str, *templates: PinningTemplate) -> str:
        """Start a nova-compute, and register the host's NUMA nodes as the agent does. Gives the host's provider."""
        small = (NODE_KB - PAGES * PAGE_KIB) // 4
        mempages = {node: fakelibvirt.create_mempages([(4, small), (PAGE_KIB, PAGES)]) for node in range(2)}
        info = fakelibvirt.HostInfo(
            cpu_nodes=2, cpu_sockets=1, cpu_cores=4, cpu_threads=1, kB_mem=2 * NODE_KB, mempages=mempages
        )
        self.start_compute(name, info, pci_info=self.devices)
        registry = NodeRegistry(self.client, name)
        root, _, states = registry.observe()
        pages = dict.fromkeys(range(2), (HugePages(PAGE_KIB, PAGES),))
        cpus = HostCpus(topologies.two_nodes_no_smt(), self.pools, pages)
        registry.write(root, desired_tree(root.uuid, name, cpus, templates, states).nodes, states)
        return root.uuid

    def novas_nodes(self, server: Mapping[str, Any]) -> list[int]:
        """The host NUMA node of each node of the guest, as Nova has stored them."""
        context = nova_context.get_admin_context()
        mapping = objects.InstanceMapping.get_by_instance_uuid(context, server["id"])
        with nova_context.target_cell(context, mapping.cell_mapping) as cell_context:
            topology = objects.InstanceNUMATopology.get_by_instance_uuid(cell_context, server["id"])
        return [cell.id for cell in topology.cells]

    def assert_on(self, server: Mapping[str, Any], *nodes: int) -> None:
        """Placement and Nova both have the server's cells on these nodes of its host."""
        host = self.api.get_server(server["id"])["OS-EXT-SRV-ATTR:host"]
        claimed = [node for name, node in self.nodes_of(server) if name == host]
        assert (sorted(nodes), list(nodes)) == (claimed, self.novas_nodes(server))


def pages(node: int | None, vcpus: str = "0") -> dict[str, object]:
    """A dedicated cell with huge pages of 2 MiB."""
    return {"vcpus": vcpus, "cpus": "dedicated", "pages": "2MiB", "node": node}


class CreateTest(NumaCloud):
    """Creation on one host."""

    def test_huge_pages_are_on_the_node_of_the_claim(self) -> None:
        """On node 0 and on node 1, as the template says."""
        first, second = (self.add_template(f"on{node}", pages(node)) for node in range(2))
        self.add_host("c1", first, second)
        for node, template in enumerate((first, second)):
            (server,) = self.boot(self.add_flavor(template))
            self.assert_on(server, node)

    def test_one_request_fills_both_nodes(self) -> None:
        """Each server of a multi-create has its own limits; as many come as the pools hold."""
        gold = self.add_template("gold", pages(None))
        self.add_host("c1", gold)
        flavor = self.add_flavor(gold)
        servers = self.boot(flavor, 6)
        for server in servers:
            ((_, node),) = self.nodes_of(server)
            self.assert_on(server, node)
        assert [0, 0, 0, 1, 1, 1] == [self.novas_nodes(server)[0] for server in servers]
        assert "Got no allocation candidates" in self.refuse(flavor)

    def test_unequal_cells_that_the_guest_sees(self) -> None:
        """The first is on node 0 and the second on node 1, with their own vCPUs and memory."""
        template = PinningTemplate.from_mapping(
            {"name": "big", "guest_numa": "visible", "cells": [pages(None, "0-1"), pages(1, "2")]}
        )
        TemplateStore(self.client).create(template)
        self.add_host("c1", template)
        (server,) = self.boot(self.add_flavor(template))
        self.assert_on(server, 0, 1)


def xml_of_starts(test: NumaCloud) -> list[ElementTree.Element]:
    """What Nova hands to libvirt for each server that starts from now on; the fake libvirt forgets most of it."""
    found: list[ElementTree.Element] = []
    make = LibvirtDriver._get_guest_xml

    def note(*args: Any, **kwargs: Any) -> str:
        xml: str = make(*args, **kwargs)
        found.append(ElementTree.fromstring(xml))
        return xml

    test.useFixture(fixtures.MockPatchObject(LibvirtDriver, "_get_guest_xml", note))
    return found


class MixedTest(NumaCloud):
    """Servers of which a vCPU floats, on nodes of two dedicated CPUs and a shared one."""

    pools = HostPools(CpuSet.parse("2-3,6-7"), CpuSet.parse("1,5"), CpuSet.parse("0,4"), 4.0)

    def test_the_vcpu_that_floats_is_on_the_node_of_the_others(self) -> None:
        """On node 0 and on node 1; Nova takes a dedicated CPU for the others alone, as is claimed."""
        mixed = [self.add_template(f"on{node}", pages(node, "0-2") | {"shared_vcpus": "0"}) for node in range(2)]
        self.add_host("c1", *mixed)
        starts = xml_of_starts(self)
        for node, template in enumerate(mixed):
            (server,) = self.boot(self.add_flavor(template))
            self.assert_on(server, node)
            pins = {pin.get("vcpu"): str(pin.get("cpuset")) for pin in starts[node].iterfind("cputune/vcpupin")}
            assert str(4 * node) == pins.pop("0")
            assert [str(4 * node + 2), str(4 * node + 3)] == sorted(pins.values())


class LocalDevicesTest(NumaCloud):
    """Servers with a device, of which the host has one, near node 1."""

    pools = HostPools(CpuSet.parse("2-3,6-7"), CpuSet.parse("1,5"), CpuSet.parse("0,4"), 4.0)
    DEVICE = MappingProxyType({"vendor_id": fakelibvirt.PCI_VEND_ID, "product_id": fakelibvirt.PCI_PROD_ID})

    def setUp(self) -> None:
        alias = json.dumps({**self.DEVICE, "name": "nic"})
        self.flags(device_spec=[json.dumps(dict(self.DEVICE))], alias=[alias], group="pci")
        super().setUp()
        self.devices = fakelibvirt.HostPCIDevicesInfo(num_pfs=0, num_vfs=0, num_pci=1, numa_node=1)

    def add_flavor_with_device(self, **cell: object) -> str:
        """A flavor of one device, and of a template with one cell of one vCPU, on a new host."""
        template = self.add_template("local", {"vcpus": "0", "cpus": "dedicated", "devices": "local"} | cell)
        self.add_host("c1", template)
        return self.add_flavor(template, **{"pci_passthrough:alias": "nic:1"})

    def test_the_server_is_led_to_the_node_of_the_device(self) -> None:
        """To node 1, although node 0 is the first; the next server finds no device, which Nova's own filters see."""
        flavor = self.add_flavor_with_device()
        starts = xml_of_starts(self)
        (server,) = self.boot(flavor)
        self.assert_on(server, 1)
        (xml,) = starts
        assert xml.find("devices/hostdev") is not None
        assert "Filter NUMATopologyFilter returned 0 hosts" in self.refuse(flavor)

    def test_a_shared_server_is_led_there_too(self) -> None:
        """Nova knows its node by the keys that name it."""
        (server,) = self.boot(self.add_flavor_with_device(cpus="shared"))
        assert [1] == self.novas_nodes(server)

    def test_a_cell_on_another_node_gets_no_host(self) -> None:
        """The log names device and node, and what to change."""
        log = self.refuse(self.add_flavor_with_device(node=0))
        assert "no free device of alias nic is near node 0, where Placement has room for the server" in log
        assert "or take devices: local off the template" in log

    def test_without_the_word_a_device_of_another_node_will_do(self) -> None:
        """Where the flavor has Nova's own policy for that."""
        template = self.add_template("paged", pages(0))
        self.add_host("c1", template)
        more = {"pci_passthrough:alias": "nic:1", "hw:pci_numa_affinity_policy": "preferred"}
        (server,) = self.boot(self.add_flavor(template, **more))
        self.assert_on(server, 0)


class RealtimeTest(NumaCloud):
    """Real-time servers on one host."""

    def start(self, node: int, **clauses: object) -> ElementTree.Element:
        """Start a server of a template on a node; gives the XML with which it starts."""
        cells = [{"vcpus": "0-1", "cpus": "dedicated", "node": node}]
        template = PinningTemplate.from_mapping({"name": f"ran{node}", "cells": cells, **clauses})
        TemplateStore(self.client).create(template)
        self.add_host("c1", template)
        starts = xml_of_starts(self)
        (server,) = self.boot(self.add_flavor(template))
        self.assert_on(server, node)
        (xml,) = starts
        return xml

    def assert_realtime(self, xml: ElementTree.Element, vcpus: str) -> None:
        """These vCPUs start in real time with Nova's only priority, and the memory is locked."""
        sched = xml.find("cputune/vcpusched")
        assert sched is not None
        assert {"vcpus": vcpus, "scheduler": "fifo", "priority": "1"} == sched.attrib
        assert xml.find("memoryBacking/locked") is not None

    def test_the_emulator_starts_on_the_cpu_of_the_vcpu_that_is_left(self) -> None:
        """And the server is on node 1, as its template says."""
        xml = self.start(1, realtime={"vcpus": "1", "priority": 5})
        self.assert_realtime(xml, "1")
        pins = {pin.get("vcpu"): pin.get("cpuset") for pin in xml.iterfind("cputune/vcpupin")}
        emulator = xml.find("cputune/emulatorpin")
        assert emulator is not None
        assert pins["0"] == emulator.get("cpuset")
        assert set(pins.values()) <= {"5", "6", "7"}

    def test_the_emulator_starts_on_its_own_cpu(self) -> None:
        """Which Nova counts as it is claimed, so that a node of three dedicated CPUs takes two vCPUs."""
        xml = self.start(0, realtime={"vcpus": "0-1"}, emulator="own")
        self.assert_realtime(xml, "0-1")
        emulator = xml.find("cputune/emulatorpin")
        assert emulator is not None
        pins = [str(pin.get("cpuset")) for pin in xml.iterfind("cputune/vcpupin")]
        assert ["1", "2", "3"] == sorted([*pins, str(emulator.get("cpuset"))])

    def test_an_image_with_another_mask(self) -> None:
        """Gets no host; the log says why."""
        template = PinningTemplate.from_mapping(
            {"name": "ran", "cells": [{"vcpus": "0-2", "cpus": "dedicated"}], "realtime": {"vcpus": "2"}}
        )
        TemplateStore(self.client).create(template)
        self.add_host("c1", template)
        self.glance.create(None, dict(self.glance.image1, id=OTHER_MASK, properties=ONE_IS_LEFT))
        server = self._build_server(flavor_id=self.add_flavor(template), networks="none", image_uuid=OTHER_MASK)
        self.renew_snapshot()
        self._wait_for_state_change(self.api.post_server({"server": server}), "ERROR")
        assert "has vCPU 1-2 in real time instead of 2" in self.stdlog.logger.output


class UnmarkedTest(NumaCloud):
    """A host whose nova.conf lacks a marker."""

    marked_nodes = (0,)

    def test_it_gets_no_such_server(self) -> None:
        """The log says which marker is missing, and how to find the lines."""
        gold = self.add_template("gold", pages(1))
        self.add_host("c1", gold)
        log = self.refuse(self.add_flavor(gold))
        assert "node 1 lacks the physical network kongming_numa1" in log
        assert "'kongming-agent --check' on the host prints the lines" in log


class ActionsTest(NumaCloud):
    """Two hosts."""

    def setUp(self) -> None:
        super().setUp()
        self.on = [self.add_template(f"on{node}", pages(node)) for node in range(2)]
        for host in ("c1", "c2"):
            self.add_host(host, *self.on)

    def away_from(self, server: Mapping[str, Any]) -> tuple[str, str]:
        """The host of a server, and the other one."""
        home = self.api.get_server(server["id"])["OS-EXT-SRV-ATTR:host"]
        self.renew_snapshot()
        return home, "c2" if home == "c1" else "c1"

    def stays_and_is_moved_cold(self, node: int) -> None:
        """Reboot and rebuild; migration, confirmed and reverted; resize to the other node, reverted, and back."""
        flavor, other = (self.add_flavor(self.on[number]) for number in (node, 1 - node))
        (server,) = self.boot(flavor)
        self._reboot_server(server, hard=True)
        self.assert_on(server, node)
        self._rebuild_server(server, OTHER_IMAGE)
        self.assert_on(server, node)
        with mock.patch(DISKS, return_value="{}"):
            for decide in (self._confirm_resize, self._revert_resize):
                self.renew_snapshot()
                self._migrate_server(server)
                self.assert_on(server, node)
                decide(server)
                self.assert_on(server, node)
            for decide, end in ((self._revert_resize, node), (self._confirm_resize, 1 - node)):
                self.renew_snapshot()
                self._resize_server(server, other)
                self.assert_on(server, 1 - node)
                decide(server)
                self.assert_on(server, end)

    def is_moved_live_and_comes_back(self, node: int) -> None:
        """Unshelving, live migration, and evacuation of a host that is down.

        Up to Nova 33 the conductor forgets the limits of a live migration before it asks the destination.
        """
        (server,) = self.boot(self.add_flavor(self.on[node]))
        self._shelve_server(server)
        self.renew_snapshot()
        self._unshelve_server(server)
        self.assert_on(server, node)
        if releases.hands_on_the_limits_of_a_live_migration():
            home, away = self.away_from(server)
            self.server, self.src, self.dest = server, self.computes[home], self.computes[away]
            self.live_migrate(server, away)
            self.assert_on(server, node)
        home, away = self.away_from(server)
        self.computes[home].stop()
        self.api.put_service_force_down(self.api.get_services(host=home, binary="nova-compute")[0]["id"], True)
        self._evacuate_server(server, expected_host=away)
        self.assert_on(server, node)

    def test_a_server_on_node_0_that_stays_or_is_moved_cold(self) -> None:
        """Placement and Nova have it on node 0 after each action."""
        self.stays_and_is_moved_cold(0)

    def test_a_server_on_node_1_that_stays_or_is_moved_cold(self) -> None:
        """Placement and Nova have it on node 1 after each action."""
        self.stays_and_is_moved_cold(1)

    def test_a_server_on_node_0_that_is_moved_live(self) -> None:
        """Placement and Nova have it on node 0 after each action."""
        self.is_moved_live_and_comes_back(0)

    def test_a_server_on_node_1_that_is_moved_live(self) -> None:
        """Placement and Nova have it on node 1 after each action."""
        self.is_moved_live_and_comes_back(1)

# SPDX-License-Identifier: Apache-2.0
"""Servers of templates through Nova's own API, scheduler and compute."""

from __future__ import annotations

from unittest import mock

from tests.functional.nova.cloud import Cloud, make_template

ONE = {"vcpus": "0", "cpus": "dedicated"}
ON_NODE_1 = {"vcpus": "0-1", "cpus": "dedicated", "node": 1}
OTHER_CELL = {"vcpus": "2", "cpus": "dedicated"}


class CreateTest(Cloud):
    """Creation on one host, whose two nodes have three dedicated CPUs each."""

    def test_one_request_fills_node_after_node_and_no_further(self) -> None:
        """As many servers as two nodes hold become ACTIVE in one request; one more finds no host."""
        gold = self.add_template("gold", ONE)
        self.add_host("c1", gold)
        flavor = self.add_flavor(gold)
        servers = self.boot(flavor, 6)
        assert [[("c1", 0)]] * 3 + [[("c1", 1)]] * 3 == [self.nodes_of(server) for server in servers]
        assert "Got no allocation candidates from the Placement API" in self.refuse(flavor)

    def test_cells_are_on_nodes_of_their_own_and_where_they_ask(self) -> None:
        """The cell that names node 1 is there, and the other, which would fit there too, is not."""
        big = self.add_template("big", ON_NODE_1, OTHER_CELL)
        root = self.add_host("c1", big)
        (server,) = self.boot(self.add_flavor(big))
        assert [("c1", 0), ("c1", 1)] == self.nodes_of(server)
        assert (1, 2) == (self.usage(root, 0), self.usage(root, 1))

    def test_spread_and_scatter(self) -> None:
        """The configured strategy holds where the flavor names none; scattered servers fill what is left."""
        self.flags(numa_strategy="spread", group="kongming_scheduler")
        gold = self.add_template("gold", ONE)
        root = self.add_host("c1", gold)
        spread = [self.nodes_of(server) for server in self.boot(self.add_flavor(gold), 2)]
        assert [[("c1", 0)], [("c1", 1)]] == spread
        scattered = self.boot(self.add_flavor(gold, **{"kongming:numa_strategy": "scatter"}), 4)
        assert 4 == len(scattered)
        assert (3, 3) == (self.usage(root, 0), self.usage(root, 1))


class RefuseTest(Cloud):
    """Flavors that cannot be honoured, and servers that ask nothing."""

    def test_no_host_and_a_line_that_says_why(self) -> None:
        """Whatever is wrong with the flavor, the scheduler's log names it; a server without a template is not hit."""
        gold = self.add_template("gold", ONE)
        root = self.add_host("c1", gold)
        bare = self._create_flavor(vcpu=1, memory_mb=256, disk=1, extra_spec={"kongming:template": "gold"})
        log = self.refuse(bare)
        assert "'resources_KONGMING0:*'" in log
        assert "write its keys with 'openstack kongming flavor set FLAVOR --template TEMPLATE'" in log
        assert 1 == log.count(" WARNING [kongming_sched.filters.template] No host for server")

        missing = self.add_flavor(make_template("silver", ONE))
        assert "No such trait(s): CUSTOM_KONGMING_TEMPLATE_SILVER" in self.refuse(missing)

        self.add_template("silver", ONE)
        assert "Got no allocation candidates from the Placement API" in self.refuse(missing)

        (server,) = self.boot(self._create_flavor(vcpu=1, memory_mb=256, disk=1, ephemeral=0))
        allocations = self.placement.get(f"/allocations/{server['id']}").body["allocations"]
        assert {root: {"VCPU": 1, "MEMORY_MB": 256, "DISK_GB": 1}} == {
            uuid: item["resources"] for uuid, item in allocations.items()
        }


class MoveTest(Cloud):
    """Moves between two hosts."""

    def test_allocations_follow_a_server(self) -> None:
        """Packed beside another, live-migrated, migrated back cold, resized: always on one node that its flavor asks.

        What it leaves is free again.
        """
        gold = self.add_template("gold", ONE)
        duo = self.add_template("duo", ON_NODE_1)
        roots = {host: self.add_host(host, gold, duo) for host in ("c1", "c2")}
        flavor = self.add_flavor(gold)
        (first,) = self.boot(flavor)
        home = first["OS-EXT-SRV-ATTR:host"]
        away = "c2" if home == "c1" else "c1"
        (self.server,) = self.boot(flavor)
        assert [(home, 0)] == self.nodes_of(self.server)

        self.src, self.dest = self.computes[home], self.computes[away]
        self._live_migrate(self.server)
        assert [(away, 0)] == self.nodes_of(self.server)
        assert (1, 1) == (self.usage(roots[home], 0), self.usage(roots[away], 0))

        disks = mock.patch("nova.virt.libvirt.driver.LibvirtDriver.migrate_disk_and_power_off", return_value="{}")
        with disks:
            self._migrate_server(self.server)
        self._confirm_resize(self.server)
        assert [(home, 0)] == self.nodes_of(self.server)
        assert (2, 0) == (self.usage(roots[home], 0), self.usage(roots[away], 0))

        with disks:
            self._resize_server(self.server, self.add_flavor(duo))
        self._confirm_resize(self.server)
        ((host, node),) = self.nodes_of(self.server)
        assert 1 == node
        assert 2 == self.usage(roots[host], 1)
        assert (1, 0) == (self.usage(roots[home], 0), self.usage(roots[away], 0))

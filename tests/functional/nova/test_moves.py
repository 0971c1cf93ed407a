# SPDX-License-Identifier: Apache-2.0
"""Servers of templates that are sent to a host, stay on theirs, or get one because the first failed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

from nova import exception as nova_exception

from kongming_sched.scheduler import server_templates
from tests.functional.nova.cloud import Cloud

ONE = {"vcpus": "0", "cpus": "dedicated"}
TWO_ON_NODE_1 = {"vcpus": "0-1", "cpus": "dedicated", "node": 1}
DRIVER = "nova.virt.libvirt.driver.LibvirtDriver"
PATIENCE_TRIES = 600
"""Of which ten are made in a second."""


class NamedHostTest(Cloud):
    """Two hosts of two nodes, and an operator who says which one."""

    def setUp(self) -> None:
        super().setUp()
        self.flags(allow_resize_to_same_host=True)
        self.gold = self.add_template("gold", ONE)
        self.duo = self.add_template("duo", TWO_ON_NODE_1)
        self.roots = {host: self.add_host(host, self.gold, self.duo) for host in ("c1", "c2")}

    def usages(self) -> list[int]:
        """Dedicated CPUs in use on both nodes of c1, then of c2."""
        return [self.usage(self.roots[host], node) for host in ("c1", "c2") for node in range(2)]

    def await_usages(self, *expected: int) -> None:
        """Wait for these usages: Nova takes back the claim of a migration after it has called the migration done."""
        for _ in range(PATIENCE_TRIES):
            if list(expected) == self.usages():
                return
            time.sleep(0.1)
        assert list(expected) == self.usages()

    def create(self, flavor_id: str, **where: str) -> Mapping[str, Any]:
        """A server on a host that the request names."""
        self.renew_snapshot()
        server: Mapping[str, Any] = self._create_server(flavor_id=flavor_id, networks="none", **where)
        return server

    def test_the_named_host_gives_one_node(self) -> None:
        """Forced past all filters, asked for with filters, rebuilt, migrated cold and live: one node, none left behind.

        The filters choose the fullest node of the host that is named; where they are not asked the claim is
        Placement's first candidate, which is whole too.
        """
        flavor = self.add_flavor(self.gold)
        forced = self.create(flavor, az="nova:c2")
        ((host, node),) = self.nodes_of(forced)
        assert "c2" == host
        asked = self.create(flavor, host="c2")
        assert [("c2", node)] == self.nodes_of(asked)

        self._rebuild_server(asked, "155d900f-4e14-4e4c-a73d-069cbf4541e6")
        assert [("c2", node)] == self.nodes_of(asked)
        assert 2 == sum(self.usages())

        with mock.patch(f"{DRIVER}.migrate_disk_and_power_off", return_value="{}"):
            self._migrate_server(asked, host="c1")
        self._confirm_resize(asked)
        assert [("c1", 0)] == self.nodes_of(asked)

        self.server, self.src, self.dest = asked, self.computes["c1"], self.computes["c2"]
        self.renew_snapshot()
        self.live_migrate(asked, "c2")
        assert [("c2", node)] == self.nodes_of(asked)
        self.await_usages(0, 0, *(2 if number == node else 0 for number in range(2)))

    def test_a_resize_on_the_host_itself_holds_both_until_it_is_decided(self) -> None:
        """It gets the node that the new flavor names, and on revert the very node back that it had.

        A server evacuated from a host that is down gets a node of the other.
        """
        small, large = self.add_flavor(self.gold), self.add_flavor(self.duo)
        server = self.create(small, host="c1")
        self.api.put_service(self.api.get_services(host="c2", binary="nova-compute")[0]["id"], {"status": "disabled"})
        for decide, expected in ((self._revert_resize, [("c1", 0)]), (self._confirm_resize, [("c1", 1)])):
            self.renew_snapshot()
            with mock.patch(f"{DRIVER}.migrate_disk_and_power_off", return_value="{}"):
                self._resize_server(server, large)
            assert [("c1", 1)] == self.nodes_of(server)
            self.await_usages(1, 2, 0, 0)
            decide(server)
            assert expected == self.nodes_of(server)
        self.await_usages(0, 2, 0, 0)

        self.api.put_service(self.api.get_services(host="c2", binary="nova-compute")[0]["id"], {"status": "enabled"})
        down = self.computes["c1"]
        down.stop()
        self.api.put_service_force_down(self.api.get_services(host="c1", binary="nova-compute")[0]["id"], True)
        self.renew_snapshot()
        self._evacuate_server(server, expected_host="c2")
        assert [("c1", 1), ("c2", 1)] == self.nodes_of(server)  # of c1 until its nova-compute is back
        self.await_usages(0, 2, 0, 2)


class AffinityTest(Cloud):
    """Which host, where several have room. nova-compute does not report its servers to the scheduler."""

    def setUp(self) -> None:
        self.flags(track_instance_changes=False, group="filter_scheduler")
        super().setUp()

    def hosts_of(self, servers: list[Any]) -> list[str]:
        """The hosts of servers, in their order."""
        return [server["OS-EXT-SRV-ATTR:host"] for server in servers]

    def test_templates_are_packed_or_spread(self) -> None:
        """By what Nova's database says of the servers that are there, and by what the request itself has placed."""
        self.flags(
            packing_weight_multiplier=0.0, template_affinity_weight_multiplier=-1000.0, group="kongming_scheduler"
        )
        server_templates.SERVER_TEMPLATES = server_templates.ServerTemplates()
        gold = self.add_template("gold", ONE)
        silver = self.add_template("silver", ONE)
        for host in ("c1", "c2"):
            self.add_host(host, gold, silver)
        flavors = {template.name: self.add_flavor(template) for template in (gold, silver)}
        assert ["c1", "c2"] == sorted(self.hosts_of(self.boot(flavors["gold"], 2)))
        (home,) = self.hosts_of(self.boot(flavors["silver"]))
        (away,) = {"c1", "c2"} - {home}
        assert [away] == self.hosts_of(self.boot(flavors["silver"]))

        self.flags(template_affinity_weight_multiplier=1000.0, group="kongming_scheduler")
        (most,) = self.hosts_of(self.boot(flavors["gold"]))
        assert [most] * 2 == self.hosts_of(self.boot(flavors["gold"], 2))

    def test_a_server_whose_host_fails_gets_the_candidate_that_was_stored_for_it(self) -> None:
        """The filters are not asked again; it is whole, on the other host, and the first holds nothing of it."""
        self.flags(max_attempts=2, group="scheduler")
        gold = self.add_template("gold", ONE)
        duo = self.add_template("duo", TWO_ON_NODE_1, {"vcpus": "2", "cpus": "dedicated"})
        roots = {host: self.add_host(host, gold, duo) for host in ("c1", "c2")}
        failed: list[str] = []

        def fail_once(host: str, spawn: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                if not failed:
                    failed.append(host)
                    raise nova_exception.ComputeResourcesUnavailable(reason="as the test wants it")
                return spawn(*args, **kwargs)

            return run

        with contextlib.ExitStack() as stack:
            for host in roots:
                driver = self.computes[host].manager.driver
                stack.enter_context(mock.patch.object(driver, "spawn", fail_once(host, driver.spawn)))
            (server,) = self.boot(self.add_flavor(duo))
        (other,) = {"c1", "c2"} - set(failed)
        assert [(other, 0), (other, 1)] == self.nodes_of(server)
        assert [0, 0] == [self.usage(roots[failed[0]], node) for node in range(2)]
        assert [1, 2] == [self.usage(roots[other], node) for node in range(2)]

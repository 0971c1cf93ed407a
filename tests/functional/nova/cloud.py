# SPDX-License-Identifier: Apache-2.0
"""A cloud of Nova's own parts with KongMing in its scheduler; the compute hosts are Nova's fake libvirt."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fixtures
from keystoneauth1 import adapter, loading, session, token_endpoint
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import flavor, names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.scheduler import worker
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.scheduler.under_way import UnderWay
from kongming_sched.template import PinningTemplate
from testbed import topologies

POOLS = HostPools(dedicated=CpuSet.parse("1-3,5-7"), housekeeping=CpuSet.parse("0,4"))
"""Of two_nodes_no_smt: three dedicated CPUs on each node."""


def make_template(name: str, *cells: Mapping[str, object]) -> PinningTemplate:
    """A template that is stored nowhere."""
    return PinningTemplate.from_mapping({"name": name, "cells": list(cells)})


class Cloud(base.LibvirtMigrationMixin, base.ServersTestBase):
    """Nova as an operator would set it up with KongMing. Hosts are of ``two_nodes_no_smt``."""

    ADDITIONAL_FILTERS: tuple[str, ...] = ("KongmingTemplateFilter", "KongmingNumaFilter")
    ADMIN_API = True
    microversion = "latest"

    def setUp(self) -> None:
        root_logger = logging.getLogger()
        self.addCleanup(root_logger.setLevel, root_logger.level)  # which Nova's fixtures leave at DEBUG
        self.flags(api_paste_config=str(Path(sys.prefix, "etc/nova/api-paste.ini")), group="wsgi")
        self.flags(
            available_filters=["nova.scheduler.filters.all_filters", "kongming_sched.filters.all_filters"],
            weight_classes=["nova.scheduler.weights.all_weighers", "kongming_sched.weighers.all_weighers"],
            group="filter_scheduler",
        )
        super().setUp()
        self.use_credentials()
        self.renew_snapshot()
        service = self.placement.fixture
        auth = token_endpoint.Token(service.endpoint, service.token)
        self.client = PlacementClient(adapter.Adapter(session.Session(auth), "placement"))

    def _clear_attrs(self) -> None:
        """Nova takes all attributes off a test that is over; pytest takes its own off itself."""
        method = self.__dict__.get(self._testMethodName)
        super()._clear_attrs()
        if method is not None:
            setattr(self, self._testMethodName, method)

    def use_credentials(self) -> None:
        """Credentials for Placement in nova.conf."""
        worker.CONF.register_opts(loading.get_auth_plugin_conf_options("admin_token"), group="placement")
        self.flags(
            auth_type="admin_token",
            endpoint=self.placement.fixture.endpoint,
            token=self.placement.fixture.token,
            group="placement",
        )

    def renew_snapshot(self) -> None:
        """Let the next request see all NUMA nodes as they are now."""
        snapshot = NodeSnapshot(worker.make_client, lambda: 300.0)
        self.useFixture(fixtures.MonkeyPatch("kongming_sched.scheduler.worker.SNAPSHOT", snapshot))
        self.useFixture(fixtures.MonkeyPatch("kongming_sched.scheduler.worker.UNDER_WAY", UnderWay()))

    def add_host(self, name: str, *templates: PinningTemplate) -> str:
        """Start a nova-compute, and register the host's NUMA nodes as the agent does. Gives the host's provider."""
        self.start_compute(name, fakelibvirt.HostInfo(cpu_nodes=2, cpu_sockets=1, cpu_cores=4, cpu_threads=1))
        registry = NodeRegistry(self.client, name)
        root, _, states = registry.observe()
        tree = desired_tree(root.uuid, name, HostCpus(topologies.two_nodes_no_smt(), POOLS), templates, states)
        registry.write(root, tree.nodes, states)
        return root.uuid

    def add_template(self, name: str, *cells: Mapping[str, object]) -> PinningTemplate:
        """Store a template."""
        template = make_template(name, *cells)
        TemplateStore(self.client).create(template)
        return template

    def add_flavor(self, template: PinningTemplate, **more: str) -> str:
        """What ``openstack kongming flavor set`` makes of a new flavor; gives its id."""
        specs = flavor.extra_specs(template, more, vcpus=template.vcpus, memory_mb=256)
        return str(self._create_flavor(vcpu=template.vcpus, memory_mb=256, disk=1, extra_spec={**more, **specs}))

    def boot(self, flavor_id: str, count: int = 1) -> list[Any]:
        """Create servers in one request; they come back ACTIVE, in the order in which they were scheduled."""
        self.renew_snapshot()
        body = self._build_server(flavor_id=flavor_id, networks="none") | {"min_count": count}
        body["return_reservation_id"] = True
        reservation = self.api.api_post("/servers", {"server": body}).body["reservation_id"]
        servers = self.api.get_servers(search_opts={"reservation_id": reservation})
        servers.sort(key=lambda server: server["OS-EXT-SRV-ATTR:launch_index"])
        return [self._wait_for_state_change(server, "ACTIVE") for server in servers]

    def refuse(self, flavor_id: str) -> str:
        """Create a server that gets no host; gives what was logged meanwhile."""
        self.renew_snapshot()
        before = len(self.stdlog.logger.output)
        server = self._create_server(flavor_id=flavor_id, networks="none", expected_state="ERROR")
        assert "No valid host was found" in self.api.get_server(server["id"])["fault"]["message"]
        return str(self.stdlog.logger.output[before:])

    def live_migrate(self, server: Mapping[str, Any], host: str) -> None:
        """Migrate a running server to the host; Nova's own helper names none before Nova 33."""
        action = {"os-migrateLive": {"host": host, "block_migration": "auto"}}
        self.api.post_server_action(server["id"], action)
        self._wait_for_migration_status(server, ["completed"])
        self._wait_for_state_change(server, "ACTIVE")

    def nodes_of(self, server: Mapping[str, Any]) -> list[tuple[str, int]]:
        """Host and NUMA node of all node providers from which a server has dedicated CPUs."""
        allocations = self.placement.get(f"/allocations/{server['id']}").body["allocations"]
        nodes = {
            names.node_uuid(root, node): (host, node)
            for host, root in self.compute_rp_uuids.items()
            for node in range(2)
        }
        return sorted(nodes[uuid] for uuid, item in allocations.items() if names.PCPU in item["resources"])

    def usage(self, root_uuid: str, node: int) -> int:
        """Dedicated CPUs in use on a node."""
        allocations = self.client.allocations(names.node_uuid(root_uuid, node))
        return sum(resources.get(names.PCPU, 0) for resources in allocations.values())

# SPDX-License-Identifier: Apache-2.0
"""The cloud that the scenarios run on, whichever ``OS_CLOUD`` names; and its services, if they are this machine's."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import openstack
from openstack import exceptions as sdk_exceptions

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.flavor import extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from testbed.cloud.plan import Plan, load_plan
from tests.scenario.guest_image import GREETING, obedient_disk
from tests.scenario.hosts import PATIENCE_SECONDS, Hosts
from tests.scenario.machines import Kernel
from tests.scenario.services import Services
from tests.scenario.views import Views, libvirt_io_pins, libvirt_pins

PREFIX = "kongming-scenario-"
"""All that the scenarios make begins with this, and nothing else is touched."""

_NAMESPACE = uuid.UUID("6b6f6e67-6d69-4e67-8f73-63656e6172ff")

_T = TypeVar("_T")


def wait_for(what: str, condition: Callable[[], _T], patience_seconds: float = PATIENCE_SECONDS) -> _T:
    """What ``condition`` gives once that is true.

    :raises AssertionError: if it does not come true in time
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        if seen := condition():
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience_seconds:.0f} s")
        time.sleep(0.1)


class Cloud:
    """A cloud's administrator, who makes templates, flavors and servers.

    :ivar plan: how the cloud's services are run, if tools/cloud runs them; else None
    :ivar services: these services
    """

    def __init__(self) -> None:
        self.connection: Any = openstack.connect(compute_default_microversion="2.96")
        self.compute: Any = self.connection.compute
        self.placement = PlacementClient(self.connection.placement)
        self.templates = TemplateStore(self.placement)
        self.plan = _local_plan()
        self.hosts = Hosts(self.plan)
        self.services = Services(self.plan, self.wait_for)
        self.stopwatch = self.hosts.stopwatch

    def wait_for(self, what: str, condition: Callable[[], _T]) -> _T:
        """As the function, with the patience that this cloud needs."""
        return wait_for(what, condition, self.hosts.patience_seconds)

    def gather(self, hosts: Iterable[str]) -> str:
        """The Placement aggregate of these hosts, to which templates can be offered."""
        aggregate = str(uuid.uuid5(_NAMESPACE, ",".join(sorted(hosts))))
        for host in hosts:
            (root,) = self.placement.providers(name=host)
            mine = self.placement.aggregates(root.uuid)
            if aggregate not in mine:
                self.placement.set_aggregates(root.uuid, root.generation, mine | {aggregate})
        return aggregate

    # Templates and flavors

    def make_template(self, template: PinningTemplate, hosts: Iterable[str] = ()) -> None:
        """Store a template, in place of an older one of its name.

        :param hosts: those that are offered it; none means all
        """
        aggregates = [self.gather(hosts)] if hosts else []
        try:
            self.templates.create(template, aggregates)
        except exceptions.TemplateExists:
            self.templates.update(template, aggregates)

    def offering(self, template: str) -> dict[str, list[int]]:
        """Root provider to the nodes that offer a template now."""
        found: dict[str, list[int]] = {}
        for node in self.placement.node_summaries():
            if names.template_trait(template) in node.traits:
                number = next(id for trait in node.traits if (id := names.node_id_of(trait)) is not None)
                found.setdefault(node.root_uuid, []).append(number)
        return found

    def make_flavor(self, template: PinningTemplate, ram_mb: int, threads_per_core: int) -> Any:
        """A flavor of a template."""
        name = f"{PREFIX}{template.name}-{ram_mb}"
        self.delete_flavor(name)
        flavor = self.compute.create_flavor(name=name, ram=ram_mb, vcpus=template.vcpus, disk=1, is_public=True)
        specs = extra_specs(template, {}, vcpus=template.vcpus, memory_mb=ram_mb, threads_per_core=threads_per_core)
        self.compute.create_flavor_extra_specs(flavor, specs)
        return flavor

    def delete_flavor(self, name: str) -> None:
        """Delete a flavor if there is one of this name."""
        if old := self.compute.find_flavor(name):
            self.compute.delete_flavor(old)

    # Servers

    def image(self) -> Any:
        """The image of all servers, with a guest that does nothing but obey the power button."""
        name = f"{PREFIX}obedient"
        found = next(iter(self.connection.image.images(name=name, status="active")), None)
        return found or self.connection.image.create_image(
            name=name, disk_format="raw", container_format="bare", data=obedient_disk(), allow_duplicates=True
        )

    def create_server(self, name: str, flavor: Any, count: int = 1, **more: Any) -> list[Any]:
        """Create servers and wait until all run.

        :raises AssertionError: if one does not
        """
        server = self.compute.create_server(
            name=f"{PREFIX}{name}",
            flavor_id=flavor.id,
            image_id=self.image().id,
            networks="none",
            min_count=count,
            max_count=count,
            **more,
        )
        mine = [server.id]
        if count > 1:
            mine = [found.id for found in self.compute.servers(name=f"^{PREFIX}{name}-[0-9]+$")]
        return [self.wait_for_status(each, "ACTIVE") for each in mine]

    def wait_for_status(self, server: str, *wanted: str) -> Any:
        """A server once it has one of these states and nothing is under way.

        :raises AssertionError: if it fails or takes too long
        """

        def condition() -> Any:
            found = self.compute.get_server(server)
            if found.status == "ERROR" and "ERROR" not in wanted:
                raise AssertionError(f"server {found.name} failed: {found.fault}")
            return found if found.status in wanted and found.task_state is None else None

        return self.wait_for(f"server {server} is {' or '.join(wanted)}", condition)

    def wait_until_booted(self, server: str) -> None:
        """Wait until the guest of a server that has just been started obeys the power button.

        :raises AssertionError: if it does not boot, as on an emulated host, whose guests have no real firmware
        """
        show = self.compute.get_server_console_output
        self.wait_for(f"server {server} has booted", lambda: GREETING in (show(server)["output"] or ""))

    def delete_server(self, server: str) -> None:
        """Delete a server and wait until it is gone."""
        try:
            self.compute.delete_server(server, force=False)
        except sdk_exceptions.NotFoundException:
            return
        self.wait_for(f"server {server} is gone", lambda: not self._exists(server))

    def delete_all(self) -> None:
        """Delete every server that scenarios have left."""
        left = [server.id for server in self.compute.servers(all_projects=True) if server.name.startswith(PREFIX)]
        for server in left:
            self.compute.delete_server(server)
        for server in left:
            self.wait_for(f"server {server} is gone", lambda server=server: not self._exists(server))

    def _exists(self, server: str) -> bool:
        try:
            self.compute.get_server(server)
        except sdk_exceptions.NotFoundException:
            return False
        return True

    # Views

    def allocations(self, consumer: str) -> dict[str, dict[str, int]]:
        """Provider to what a consumer has of it."""
        answer = self.connection.placement.get(f"/allocations/{consumer}", microversion="1.36")
        return {uuid: item["resources"] for uuid, item in answer.json()["allocations"].items()}

    def views(self, server: str) -> Views:
        """All three views of a server."""
        found = self.compute.get_server(server)
        host = found.hypervisor_hostname or ""
        root = next((provider.uuid for provider in self.placement.providers(name=host)), "") if host else ""
        allocations = self.allocations(server)
        nodes = {
            node: allocations[uuid]
            for node in range(16)
            if root and (uuid := names.node_uuid(root, node)) in allocations
        }
        libvirt = self.hosts.libvirts.get(found.compute_host)
        pins, io_pins = (libvirt_pins(libvirt, server), libvirt_io_pins(libvirt, server)) if libvirt else ({}, {})
        kernel = self.kernel_view(server, found.compute_host)
        return Views(found.status, found.compute_host or "", nodes, pins, io_pins, kernel)

    def kernel_view(self, server: str, host: str) -> Kernel | None:
        """What the kernel of a host says of a server."""
        return self.hosts.machine(host).kernel_view(server)

    def wait_until_right(self, server: str, template: PinningTemplate) -> Views:
        """The views, once nothing is wrong with them.

        :raises AssertionError: naming what stays wrong
        """
        faults: list[str] = []
        deadline = time.monotonic() + self.hosts.patience_seconds
        while time.monotonic() < deadline:
            views = self.views(server)
            faults = views.faults(template, self.hosts.cpus(views.host))
            if not faults:
                return views
            time.sleep(0.1)
        raise AssertionError("; ".join(faults))


def _local_plan() -> Plan | None:
    """The plan of the cloud in the folder of the clouds.yaml that is in use, if tools/cloud made it."""
    path = os.environ.get("OS_CLIENT_CONFIG_FILE")
    return load_plan(Path(path).parent) if path else None

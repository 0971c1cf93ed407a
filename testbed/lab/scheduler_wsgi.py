# SPDX-License-Identifier: Apache-2.0
"""Nova's real scheduler behind a small HTTP interface, which stands in for the conductor and its message bus.

``PUT /hosts`` registers a compute node as nova-compute does, in the cell's database and in Placement. ``POST /servers``
schedules servers of one request and answers with where they were claimed, or with 409 and what the scheduler logged.
``DELETE /servers/<uuid>`` gives a server's resources back.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nova import monkey_patch

monkey_patch.patch(backend="threading")

from nova import config, context, exception, objects  # noqa: E402  # Nova must choose its threads before all else
from nova.conf import CONF  # noqa: E402
from nova.scheduler import manager  # noqa: E402
from nova.scheduler.client import report  # noqa: E402
from oslo_log import log  # noqa: E402
from oslo_messaging.rpc import dispatcher  # noqa: E402

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SAID = ("kongming_sched", "nova.filters", "nova.scheduler")
"""The loggers whose lines say why a request found no host."""


class LogLines(logging.Handler):
    """Keeps what the scheduler says while a request is under way."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line: KongMing's own at any level, Nova's from INFO up."""
        if record.name.startswith("kongming_sched") or record.levelno >= logging.INFO:
            self.lines.append(record.getMessage())


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the scheduler says in the context."""
    handler = LogLines()
    for name in SAID:
        logging.getLogger(name).addHandler(handler)
    try:
        yield handler.lines
    finally:
        for name in SAID:
            logging.getLogger(name).removeHandler(handler)


def register_host(host: dict[str, Any]) -> dict[str, Any]:
    """Do what a nova-compute with the libvirt driver does when it starts: service, compute node, root provider."""
    admin = context.get_admin_context()
    cell = next(cell for cell in objects.CellMappingList.get_all(admin) if not cell.is_cell0())
    with context.target_cell(admin, cell) as in_cell:
        service = objects.Service(in_cell, host=host["name"], binary="nova-compute", topic="compute", report_count=1)
        service.create()
        node = objects.ComputeNode(
            in_cell,
            uuid=host["uuid"],
            service_id=service.id,
            host=host["name"],
            hypervisor_hostname=host["name"],
            hypervisor_type="QEMU",
            hypervisor_version=7002000,
            cpu_info="{}",
            host_ip="127.0.0.1",
            vcpus=host["vcpus"],
            vcpus_used=0,
            memory_mb=host["memory_mb"],
            memory_mb_used=0,
            free_ram_mb=host["memory_mb"],
            local_gb=host["disk_gb"],
            local_gb_used=0,
            free_disk_gb=host["disk_gb"],
            disk_available_least=host["disk_gb"],
            current_workload=0,
            running_vms=0,
            supported_hv_specs=[],
            pci_device_pools=objects.PciDevicePoolList(objects=[]),
            stats={},
            metrics="[]",
            cpu_allocation_ratio=CONF.initial_cpu_allocation_ratio,
            ram_allocation_ratio=CONF.initial_ram_allocation_ratio,
            disk_allocation_ratio=CONF.initial_disk_allocation_ratio,
            mapped=1,
        )
        node.create()
    objects.HostMapping(admin, host=host["name"], cell_mapping=cell).create()
    register_provider(admin, host)
    return {"uuid": host["uuid"]}


def register_provider(admin: context.RequestContext, host: dict[str, Any]) -> None:
    """The root provider, by the code and with the amounts of nova-compute's report."""
    client = report.report_client_singleton()
    tree = client.get_provider_tree_and_ensure_root(admin, host["uuid"], name=host["name"])
    amounts = {
        "VCPU": (host["vcpus"], CONF.initial_cpu_allocation_ratio, CONF.reserved_host_cpus),
        "MEMORY_MB": (host["memory_mb"], CONF.initial_ram_allocation_ratio, CONF.reserved_host_memory_mb),
        "DISK_GB": (host["disk_gb"], CONF.initial_disk_allocation_ratio, CONF.reserved_host_disk_mb // 1024),
    }
    inventory = {
        name: {
            "total": total,
            "reserved": reserved,
            "min_unit": 1,
            "max_unit": total,
            "step_size": 1,
            "allocation_ratio": ratio,
        }
        for name, (total, ratio, reserved) in amounts.items()
    }
    tree.update_inventory(host["name"], inventory)
    tree.update_traits(host["name"], {"COMPUTE_NODE", "OWNER_NOVA"})
    client.update_from_provider_tree(admin, tree)


def schedule(scheduler: manager.SchedulerManager, request: dict[str, Any]) -> dict[str, Any]:
    """Schedule servers in one request, as the conductor asks for them.

    :raises nova.exception.NoValidHost: if not all of them have a place; then none is claimed
    """
    admin = context.get_admin_context()
    admin.user_id, admin.project_id = request["user_id"], request["project_id"]
    flavor = objects.Flavor.get_by_name(admin, request["flavor"])
    uuids = [str(uuid.uuid4()) for _ in range(request["count"])]
    spec = objects.RequestSpec.from_components(
        admin, uuids[0], {"properties": {}}, flavor, None, objects.InstancePCIRequests(requests=[]), {}, None, None
    )
    spec.num_instances = request["count"]
    try:
        chosen = scheduler.select_destinations(
            admin, spec_obj=spec, instance_uuids=uuids, return_objects=True, return_alternates=False
        )
    except dispatcher.ExpectedException as error:  # how oslo.messaging hands an error to the caller's side
        raise error.exc_info[1] from None
    servers = [
        {
            "uuid": server,
            "host": selection.nodename,
            "allocations": json.loads(selection.allocation_request)["allocations"],
        }
        for server, (selection, *_) in zip(uuids, chosen, strict=True)
    ]
    fields = ("name", "flavorid", "vcpus", "memory_mb", "root_gb", "ephemeral_gb", "swap", "extra_specs")
    return {"servers": servers, "flavor": {name: getattr(flavor, name) for name in fields}}


def release(scheduler: manager.SchedulerManager, server: str) -> dict[str, Any]:
    """Give back what a server has, as nova-compute does when it has deleted the guest."""
    scheduler.placement_client.delete_allocation_for_instance(context.get_admin_context(), server, force=True)
    return {}


class Application:
    """The WSGI application."""

    def __init__(self, scheduler: manager.SchedulerManager) -> None:
        self.scheduler = scheduler

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request with JSON."""
        status, body = HTTPStatus.OK, {}
        with heard() as lines:
            try:
                body = self.answer(environ)
            except exception.NoValidHost as error:
                status, body = HTTPStatus.CONFLICT, {"reason": str(error), "said": lines}
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    def answer(self, environ: WSGIEnvironment) -> dict[str, Any]:
        """Do what a request asks."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "DELETE":
            return release(self.scheduler, path.removeprefix("/servers/"))
        body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        return register_host(body) if path == "/hosts" else schedule(self.scheduler, body)


def load() -> WSGIApplication:
    """The application, with the scheduler as the configuration file says."""
    directory = Path(os.environ["OS_NOVA_CONFIG_DIR"])
    files = [str(directory / name) for name in ("nova.conf", "scheduler.conf")]
    config.parse_args(["nova-scheduler"], default_config_files=files)
    log.setup(CONF, "nova")
    objects.register_all()
    return Application(manager.SchedulerManager())


application = load()

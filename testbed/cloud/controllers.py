# SPDX-License-Identifier: Apache-2.0
"""Nova's API, conductors and scheduler."""

from __future__ import annotations

from pathlib import Path

from testbed.cloud import ini, nova_conf
from testbed.cloud.apis import copy_paste_file, manage, wsgi_service
from testbed.cloud.clients import PROGRAMS, write_client_files
from testbed.cloud.ini import configuration_folder
from testbed.cloud.plan import Plan
from testbed.cloud.readiness import service_up
from testbed.cloud.service import Part, Service, Task


def write_files(plan: Plan) -> None:
    """The configuration of everything but the hosts."""
    for name in ("nova", "nova-cell1"):
        (plan.directory / name / "lock").mkdir(parents=True, exist_ok=True)
    copy_paste_file(plan, "nova", "api-paste.ini")
    ini.write(configuration_folder(plan, "nova") / "nova.conf", nova_conf.controller(plan))
    ini.write(configuration_folder(plan, "nova-cell1") / "nova.conf", nova_conf.cell(plan))


def discover_hosts(plan: Plan) -> None:
    """Enter in the API's database hosts that are new in the cell."""
    manage(plan, "nova", "nova-manage", "nova.conf", ["cell_v2", "discover_hosts"])


def controllers(plan: Plan) -> list[Part]:
    """The parts of Nova that are there once."""

    def api_database() -> None:
        commands = (["api_db", "sync"], ["cell_v2", "map_cell0", "--database_connection", cell0])
        manage(plan, "nova", "nova-manage", "nova.conf", *commands)

    def cell0_database() -> None:
        cell1 = ["--database_connection", ini.database(plan, "nova_cell1")]
        transport = ["--transport-url", nova_conf.transport(plan, nova_conf.CELL_VHOST)]
        create = ["cell_v2", "create_cell", "--name", "cell1", *cell1, *transport]
        manage(plan, "nova", "nova-manage", "nova.conf", create, ["db", "sync", "--local_cell"])

    def cell1_database() -> None:
        manage(plan, "nova-cell1", "nova-manage", "nova.conf", ["db", "sync", "--local_cell"])

    cell0 = ini.database(plan, "nova_cell0")
    standing = ("nova-databases", "catalogue", "rabbitmq", "placement")
    return [
        Task("client-files", lambda: write_client_files(plan)),
        Task("nova-files", lambda: write_files(plan)),
        Task("nova-api-database", api_database, ("databases", "nova-files")),
        Task("nova-cell1-database", cell1_database, ("databases", "nova-files")),
        Task("nova-cell0-database", cell0_database, ("nova-api-database",)),
        Task("nova-databases", lambda: None, ("nova-cell0-database", "nova-cell1-database")),
        wsgi_service(plan, "nova", "nova-api", ["nova-databases", "catalogue", "rabbitmq"]),
        _nova(plan, "nova-conductor-super", "nova-conductor", "nova", standing),
        _nova(plan, "nova-conductor-cell1", "nova-conductor", "nova-cell1", standing),
        _nova(plan, "nova-scheduler", "nova-scheduler", "nova", standing),
    ]


def _nova(plan: Plan, name: str, program: str, folder: str, after: tuple[str, ...]) -> Service:
    command: list[str | Path] = [PROGRAMS / program, "--config-file", configuration_folder(plan, folder) / "nova.conf"]
    return Service(name, command, service_up(plan, program), (*after, "nova-api"), bound_to=("rabbitmq",))

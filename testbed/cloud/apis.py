# SPDX-License-Identifier: Apache-2.0
"""Keystone, Placement, Glance and what stands for Neutron."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.cloud import api_conf, ini
from testbed.cloud.clients import PROGRAMS
from testbed.cloud.identity import fill_catalogue
from testbed.cloud.ini import configuration_folder
from testbed.cloud.plan import LOOPBACK, REGION, Plan
from testbed.cloud.readiness import answers_http
from testbed.cloud.service import Daemon, Part, Service, Task

APPLICATIONS = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
}


def copy_paste_file(plan: Plan, name: str, file: str) -> None:
    """Put the pipeline of an API, as its package brings it, beside its configuration."""
    folder = configuration_folder(plan, name)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAMS.parent / "etc" / name / file, folder / file)


def wsgi_service(plan: Plan, name: str, service: str, after: Sequence[str]) -> Service:
    """An API under uWSGI."""
    port = plan.ports[name]
    # Glance takes uploads in chunks, which the plain server of uWSGI does not read.
    listen = [f"--http-socket={LOOPBACK}:{port}"]
    if name == "glance":
        listen = [f"--http={LOOPBACK}:{port}", "--http-auto-chunked", "--http-chunked-input", f"--socket={LOOPBACK}:0"]
    command: list[str | Path] = [
        PROGRAMS / "uwsgi",
        *["--master", "--die-on-term", "--need-app", "--lazy-apps", "--enable-threads"],
        *["--processes", "1", "--threads", "4", "--buffer-size", "65535", "--listen", "100", *listen],
        *["--add-header", "Connection: close"],  # clients that try to keep connections see resets otherwise
        *["--module", f"{APPLICATIONS[name]}:application"],
    ]
    environment = {f"OS_{name.upper()}_CONFIG_DIR": str(configuration_folder(plan, name))}
    return Service(service, command, answers_http(f"{plan.url(name)}/"), tuple(after), environment, port=port)


def manage(plan: Plan, name: str, program: str, file: str, *commands: Sequence[str]) -> None:
    """Run the administrator's program of a service, once for each command."""
    options: list[str | Path] = ["--config-file", configuration_folder(plan, name) / file]
    for number, command in enumerate(commands, 1):
        log = f"{program}-{number}-{command[0]}"
        Daemon(log, [PROGRAMS / program, *options, *command], plan.directory).finish()


def apis(plan: Plan) -> list[Part]:
    """The parts of these services."""
    return [*_keystone(plan), *_placement(plan), *_glance(plan), _neutron(plan)]


def _keystone(plan: Plan) -> list[Part]:
    def prepare() -> None:
        ini.write(configuration_folder(plan, "keystone") / "keystone.conf", api_conf.keystone(plan))
        keys = plan.directory / "keystone"
        for folder in ("fernet-keys", "credential-keys"):
            (keys / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        root = ["--keystone-user", "root", "--keystone-group", "root"]
        url = f"{plan.url('keystone')}/v3"
        urls = ["--bootstrap-admin-url", url, "--bootstrap-internal-url", url, "--bootstrap-public-url", url]
        password = ["--bootstrap-password", plan.passwords["admin"]]
        bootstrap = ["bootstrap", *password, *urls, "--bootstrap-region-id", REGION]
        commands = (["db_sync"], ["fernet_setup", *root], bootstrap)
        manage(plan, "keystone", "keystone-manage", "keystone.conf", *commands)

    return [
        Task("keystone-database", prepare, ("databases",)),
        wsgi_service(plan, "keystone", "keystone", ["keystone-database"]),
        Task("catalogue", lambda: fill_catalogue(plan), ("keystone",)),
    ]


def _placement(plan: Plan) -> list[Part]:
    def prepare() -> None:
        ini.write(configuration_folder(plan, "placement") / "placement.conf", api_conf.placement(plan))
        manage(plan, "placement", "placement-manage", "placement.conf", ["db", "sync"])

    return [
        Task("placement-database", prepare, ("databases",)),
        wsgi_service(plan, "placement", "placement", ["placement-database", "keystone"]),
    ]


def _glance(plan: Plan) -> list[Part]:
    def prepare() -> None:
        copy_paste_file(plan, "glance", "glance-api-paste.ini")
        ini.write(configuration_folder(plan, "glance") / "glance-api.conf", api_conf.glance(plan))
        for folder in ("images", "staging", "tasks"):
            (plan.directory / "glance" / folder).mkdir(parents=True, exist_ok=True)
        manage(plan, "glance", "glance-manage", "glance-api.conf", ["db_sync"])

    return [
        Task("glance-database", prepare, ("databases",)),
        wsgi_service(plan, "glance", "glance", ["glance-database", "keystone"]),
    ]


def _neutron(plan: Plan) -> Service:
    port = plan.ports["neutron"]
    command = [sys.executable, "-m", "testbed.cloud.neutron", str(port)]
    return Service("neutron-stub", command, answers_http(f"{plan.url('neutron')}/v2.0/ports"), port=port)

# SPDX-License-Identifier: Apache-2.0
"""MariaDB and RabbitMQ, as processes of their own that listen on loopback alone."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed.cloud.nova_conf import API_VHOST, CELL_VHOST
from testbed.cloud.plan import LOOPBACK, Plan
from testbed.cloud.readiness import port_open, speaks_amqp
from testbed.cloud.service import Daemon, Part, Service, Task

DATABASES = ("keystone", "placement", "glance", "nova_api", "nova_cell0", "nova_cell1")
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the program in the path, which wants to become another user."""


def infrastructure(plan: Plan) -> list[Part]:
    """The parts that all services need."""
    return [*_database(plan), *_messages(plan)]


def _database(plan: Plan) -> list[Part]:
    data, sock = plan.directory / "mariadb", plan.directory / "mariadb.sock"
    words = [f"--datadir={data}", "--user=root"]

    def install() -> None:
        install_db = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", *words]
        Daemon("mariadb-install", [*install_db, "--skip-test-db"], plan.directory).finish()

    def sql(statements: str) -> subprocess.CompletedProcess[str]:
        client = ["mariadb", "--no-defaults", f"--socket={sock}", "--user=root", "--execute", statements]
        return subprocess.run(client, capture_output=True, text=True, check=False)

    def make_databases() -> None:
        user = f"kongming@'{LOOPBACK}'"
        statements = [f"create user if not exists {user} identified by '{plan.passwords['database']}'"]
        for name in DATABASES:
            statements.append(f"create database if not exists {name} character set utf8")
            statements.append(f"grant all on {name}.* to {user}")
        sql("; ".join(statements)).check_returncode()

    server: Sequence[str | Path] = [
        *["mariadbd", "--no-defaults", *words],
        *[f"--socket={sock}", f"--pid-file={data}/mariadbd.pid", f"--port={plan.ports['mariadb']}"],
        *[f"--bind-address={LOOPBACK}", "--skip-name-resolve", "--max-connections=2000"],
        *["--innodb-flush-log-at-trx-commit=0", "--performance-schema=0"],
    ]
    return [
        Task("mariadb-install", install),
        # The port opens earlier than the server answers.
        Service(
            "mariadb", server, lambda: not sql("select 1").returncode, ("mariadb-install",), port=plan.ports["mariadb"]
        ),
        Task("databases", make_databases, ("mariadb",)),
    ]


def password_hash(password: str, salt: bytes) -> str:
    """RabbitMQ's form of a password: salt of four bytes, then SHA-256 of salt and password."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(password: str, salt: bytes) -> dict[str, object]:
    """The user and the virtual hosts that RabbitMQ shall begin with."""
    vhosts = (API_VHOST, CELL_VHOST)
    everything = {"user": "kongming", "configure": ".*", "read": ".*", "write": ".*"}
    algorithm = "rabbit_password_hashing_sha256"
    user = {"name": "kongming", "password_hash": password_hash(password, salt), "hashing_algorithm": algorithm}
    return {
        "users": [user | {"tags": ["administrator"]}],
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "permissions": [everything | {"vhost": vhost} for vhost in vhosts],
    }


def _messages(plan: Plan) -> list[Part]:
    folder = plan.directory / "rabbitmq"
    ports = plan.ports

    def configure() -> None:
        folder.mkdir(exist_ok=True)
        (folder / "definitions.json").write_text(
            json.dumps(definitions(plan.passwords["rabbitmq"], secrets.token_bytes(4)))
        )
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = {LOOPBACK}:{ports['rabbitmq']}\n"
            "definitions.import_backend = local_filesystem\n"
            f"definitions.local.path = {folder}/definitions.json\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.console = true\n"
            "log.console.level = info\n"
            "log.file = false\n"
        )

    environment = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": f"kongming-{ports['rabbitmq']}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq-distribution"]),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "no-environment-file"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        # Idle threads shall sleep: there are few CPUs, and others need them.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none"
        " -kernel inet_dist_use_interface {127,0,0,1}",
    }
    epmd = ["epmd", "-address", LOOPBACK, "-port", str(ports["epmd"])]
    return [
        Task("rabbitmq-files", configure),
        Service("epmd", epmd, port_open(ports["epmd"]), environment={"HOME": str(folder)}, port=ports["epmd"]),
        Service(
            "rabbitmq",
            [RABBITMQ],
            speaks_amqp(ports["rabbitmq"]),
            ("epmd", "rabbitmq-files"),
            environment,
            port=ports["rabbitmq"],
        ),
    ]

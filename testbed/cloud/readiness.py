# SPDX-License-Identifier: Apache-2.0
"""Probes of the services of a cloud: whether they can be used yet."""

from __future__ import annotations

import functools
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import libvirt
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched.placement import names
from testbed.cloud import emulated_host
from testbed.cloud.clients import connect
from testbed.cloud.compute_host import holder, ready_file, socket_path
from testbed.cloud.plan import LOOPBACK, Plan, load_plan
from testbed.cloud.service import read_record, record_file

Probe = Callable[[], bool]


def port_open(port: int) -> Probe:
    """A program listens there."""

    def is_ready() -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=5):
                return True
        except OSError:
            return False

    return is_ready


def speaks_amqp(port: int) -> Probe:
    """RabbitMQ begins a conversation: it listens before it does."""

    def is_ready() -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False

    return is_ready


def answers_http(url: str) -> Probe:
    """An API answers with a document, be it a choice of versions."""

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own URL
                return bool(answer.read())
        except urllib.error.HTTPError as error:
            return error.code < 400
        except OSError:
            return False

    return is_ready


def namespaces_stand(plan: Plan, host: str) -> Probe:
    """The very process that runs has furnished them."""

    def is_ready() -> bool:
        process = read_record(record_file(plan.directory, holder(host)))
        file = ready_file(plan, host)
        return process is not None and file.exists() and file.read_text() == str(process.pid)

    return is_ready


def libvirt_uri(plan: Plan, host: str) -> str:
    """How the host's libvirtd is reached from everywhere."""
    if host in plan.emulated_hosts:
        return emulated_host.libvirt_uri(plan, host)
    return f"qemu+unix:///system?socket={socket_path(plan, host)}"


def libvirt_answers(plan: Plan, host: str) -> Probe:
    """A connection can be made; libvirtd has probed QEMU by then."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it would print what is handled here

    def is_ready() -> bool:
        try:
            libvirt.open(libvirt_uri(plan, host)).close()
        except libvirt.libvirtError:
            return False
        return True

    return is_ready


@functools.cache
def _connection(directory: Path) -> Any:
    """One log-in for all probes of a cloud."""
    plan = load_plan(directory)
    assert plan is not None
    return connect(plan)


def _asks(plan: Plan, question: Callable[[Any], bool]) -> Probe:
    """Something that an API knows, which may not answer for a while."""

    def is_ready() -> bool:
        try:
            return question(_connection(plan.directory))
        except ksa_exceptions.ClientException:
            return False

    return is_ready


def service_up(plan: Plan, binary: str, host: str = "") -> Probe:
    """Nova says that a service is up."""

    def question(connection: Any) -> bool:
        filters = {"binary": binary} | ({"host": host} if host else {})
        return any(service.state == "up" for service in connection.compute.services(**filters))

    return _asks(plan, question)


def heard_of_since_start(plan: Plan, host: str) -> Probe:
    """The host's nova-compute that runs now has given a sign of life, and not only one before it.

    Nova believes in one for minutes that is long gone, and on an emulated host it takes about as long to start.
    """

    def question(connection: Any) -> bool:
        process = read_record(record_file(plan.directory, f"{host}-nova-compute"))
        if process is None:
            return False
        start = datetime.now(timezone.utc) - timedelta(seconds=process.uptime_seconds)
        found = next(iter(connection.compute.services(binary="nova-compute", host=host)), None)
        return found is not None and is_later(found.updated_at, start)

    return _asks(plan, question)


def is_later(sign: str | None, start: datetime) -> bool:
    """Whether Nova's last sign of life of a service is later; it has none of one that has just been made."""
    return sign is None or datetime.fromisoformat(sign).replace(tzinfo=timezone.utc) > start


def _get(connection: Any, path: str) -> Any:
    headers = {"OpenStack-API-Version": "placement 1.39"}
    answer = connection.placement.get(path, headers=headers)
    return answer.json() if answer.status_code == 200 else None


def _root(host: str, connection: Any) -> str:
    found = _get(connection, f"/resource_providers?name={host}")
    return str(found["resource_providers"][0]["uuid"]) if found and found["resource_providers"] else ""


def compute_up(plan: Plan, host: str) -> Probe:
    """The host's nova-compute is up by Nova's word, and has registered what it has."""
    is_up = service_up(plan, "nova-compute", host)

    def question(connection: Any) -> bool:
        root = _root(host, connection)
        found = _get(connection, f"/resource_providers/{root}/inventories") if root else None
        return bool(found and found["inventories"])

    has_provider = _asks(plan, question)
    return lambda: has_provider() and is_up()


def has_nodes(plan: Plan, hosts: tuple[str, ...]) -> Probe:
    """The hosts' agents have registered their NUMA nodes."""

    def has(host: str, connection: Any) -> bool:
        root = _root(host, connection)
        tree = _get(connection, f"/resource_providers?in_tree={root}&resources={names.NODE}:1") if root else None
        return bool(tree and tree["resource_providers"])

    return _asks(plan, lambda connection: all(map(functools.partial(has, connection=connection), hosts)))

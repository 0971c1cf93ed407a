# SPDX-License-Identifier: Apache-2.0
"""Whether Placement gives more than there is when two claims meet: the installed release, on a real MariaDB.

MariaDB runs as it comes, so with the isolation REPEATABLE READ, in a folder of its own and without a port. Placement is
its own WSGI application in this process, each claim in a thread with a transaction of its own.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import webob
from oslo_config import cfg
from placement import conf as placement_conf
from placement import deploy
from placement.objects import allocation

CAPACITY = 30
"""Of each provider, in VCPU; a claim takes SIZE of it."""
SIZE = 6
ROUNDS = 4
AT_ONCE = 16
_FIRST, _LAST = "00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-8fff-ffffffffffff"
"""Consumers with others between them, so that InnoDB's lock on the gap beside one does not hold the other up."""

_HEADERS = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.36", "Accept": "application/json"}


@contextmanager
def mariadb() -> Iterator[str]:
    """A running MariaDB with an empty database; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="kongming-claims.") as name, ExitStack() as stack:
        data, socket = Path(name, "data"), Path(name, "socket")
        words = ["--no-defaults", f"--datadir={data}", "--user=root"]
        install = ["mariadb-install-db", *words, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen(
            ["mariadbd", *words, f"--socket={socket}", f"--pid-file={name}/pid", "--skip-networking"],
            stdout=subprocess.DEVNULL,
            stderr=stack.enter_context(Path(name, "log").open("w")),
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        client = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "--execute"]
        while subprocess.run([*client, "create database placement"], check=False, stderr=subprocess.DEVNULL).returncode:
            if server.poll() is not None:
                raise SystemExit(Path(name, "log").read_text())
            time.sleep(0.2)
        yield f"mysql+pymysql://root@localhost/placement?unix_socket={socket}&charset=utf8"


class Placement:
    """Placement's own application on a database."""

    def __init__(self, url: str) -> None:
        self.conf = cfg.ConfigOpts()
        placement_conf.register_opts(self.conf)
        self.conf.set_default("connection", url, "placement_database")
        self.conf.set_default("max_pool_size", 2 * AT_ONCE, "placement_database")
        self.conf.set_default("sync_on_startup", True, "placement_database")
        self.conf.set_default("auth_strategy", "noauth2", "api")
        self.conf([], default_config_files=[], default_config_dirs=[])
        self._application = deploy.loadapp(self.conf)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Placement's answer."""
        request = webob.Request.blank(path, method=method, headers=_HEADERS)
        if body is not None:
            request.content_type, request.json = "application/json", body
        return request.get_response(self._application)

    def _do(self, method: str, path: str, body: object) -> None:
        answer = self.ask(method, path, body)
        if answer.status_int >= 400:
            raise SystemExit(f"{method} {path} gave {answer.status}: {answer.text}")

    def add_provider(self, used: int) -> str:
        """A provider of which some is in use."""
        provider = str(uuid.uuid4())
        self._do("POST", "/resource_providers", {"uuid": provider, "name": provider})
        inventories = {"VCPU": {"total": CAPACITY, "max_unit": CAPACITY}}
        body = {"resource_provider_generation": 0, "inventories": inventories}
        self._do("PUT", f"/resource_providers/{provider}/inventories", body)
        if used:
            assert self.claim(provider, used) == "204"
        return provider

    def claim(self, provider: str, amount: int = SIZE, consumer: str = "") -> str:
        """Claim for a consumer, as Nova does for a server; gives the status, and of a refusal its kind."""
        body = {
            "allocations": {provider: {"resources": {"VCPU": amount}}},
            "consumer_generation": None,
            "project_id": "project",
            "user_id": "user",
        }
        answer = self.ask("PUT", f"/allocations/{consumer or uuid.uuid4()}", body)
        if answer.status_int != 409:
            return str(answer.status_int)
        return "conflict" if "placement.concurrent_update" in answer.text else "no room"

    def used(self, provider: str) -> int:
        """What is in use of a provider."""
        return int(self.ask("GET", f"/resource_providers/{provider}/usages").json["usages"]["VCPU"])


def meet(placement: Placement) -> tuple[str, int]:
    """Another claim is written while ours is between reading and writing; ours has no room then.

    Gives our answer, and how much is in use at the end.
    """
    provider = placement.add_provider(CAPACITY - SIZE)
    check, is_first = allocation._check_capacity_exceeded, True
    guard = threading.Lock()

    def meddle(*args: object) -> object:
        nonlocal is_first
        answer = check(*args)
        with guard:
            mine, is_first = is_first, False
        if mine:
            other = threading.Thread(target=placement.claim, args=[provider, SIZE, _LAST])
            other.start()
            other.join()
        return answer

    with mock.patch.object(allocation, "_check_capacity_exceeded", meddle):
        answer = placement.claim(provider, SIZE, _FIRST)
    used = placement.used(provider)
    for consumer in (_FIRST, _LAST):
        placement.ask("DELETE", f"/allocations/{consumer}")
    return answer, used


def burst(placement: Placement) -> tuple[Counter[str], list[int]]:
    """Many claims at once for a few places, each repeated while it meets others, as Nova does.

    Gives the last answers, and how much of each provider is in use at the end.
    """
    answers: Counter[str] = Counter()
    providers = [placement.add_provider(0) for _ in range(ROUNDS)]

    def persist(provider: str) -> str:
        answer = "conflict"
        for _ in range(50):
            if answer != "conflict":
                break
            answer = placement.claim(provider)
        return answer

    for provider in providers:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers.update(pool.map(persist, [provider] * AT_ONCE))
    return answers, [placement.used(provider) for provider in providers]


def main() -> int:
    """Print a table. Ends with 1 if more was given than there is although Placement makes one attempt alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    logging.disable(logging.ERROR)  # refusals are what is looked for
    version = metadata.version("openstack-placement")
    status = 0
    with mariadb() as url:
        placement = Placement(url)
        for attempts in (10, 1):
            placement.conf.set_override("allocation_conflict_retry_count", attempts, "placement")
            answer, used = meet(placement)
            print(f"Placement {version}, {attempts:2} attempts, two claims: {used} of {CAPACITY} used, ours: {answer}")
            answers, uses = burst(placement)
            words = ", ".join(f"{count} {kind}" for kind, count in sorted(answers.items()))
            print(f"Placement {version}, {attempts:2} attempts, {AT_ONCE} claims at once: {uses} used, {words}")
            status |= attempts == 1 and max(used, *uses) > CAPACITY
    return status


if __name__ == "__main__":
    sys.exit(main())

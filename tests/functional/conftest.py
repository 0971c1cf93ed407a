# SPDX-License-Identifier: Apache-2.0
"""The real Placement, in process: its own WSGI application behind requests, on a SQLite database of its own."""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests
from keystoneauth1 import adapter, session, token_endpoint
from placement import db_api, deploy
from placement.tests.functional.fixtures import placement as placement_fixture
from wsgi_intercept import interceptor

from kongming_sched.placement.client import PlacementClient
from testbed.quick_placement import schemas_checked_once
from testbed.recalled_placement import Memory, Recalled

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

TOKEN = "admin"
MEMORY = Memory()
"""Of all Placements of this process, which begin without anything."""

for _name in ("placement", "oslo_policy", "oslo_concurrency", "oslo_db"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what Placement logs in this process is no command's to print


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out the groups of tests that take longest first."""
    if config.getvalue("dist") != "loadscope":
        return None
    from tests.functional.schedule import LongestFirst  # xdist need not be installed

    return LongestFirst(config, log)


@dataclass(frozen=True)
class PlacementService:
    """A running Placement.

    :ivar endpoint: its URL, which only this process can reach
    :ivar token: what it takes for an administrator's token
    :ivar adapter: a keystoneauth adapter of the service
    """

    endpoint: str
    token: str
    adapter: adapter.Adapter

    @property
    def client(self) -> PlacementClient:
        """A new client of the service."""
        return PlacementClient(self.adapter)

    def add_host(self, name: str, uuid: str, memory_mb: int = 8192) -> None:
        """What nova-compute registers for a host: a root provider with MEMORY_MB."""
        provider = self.client.create_provider(uuid, name)
        inventory = {"MEMORY_MB": {"total": memory_mb, "max_unit": memory_mb}}
        self.adapter.put(
            f"/resource_providers/{uuid}/inventories",
            json={"resource_provider_generation": provider.generation, "inventories": inventory},
            headers={"OpenStack-API-Version": "placement 1.36"},
        )

    def allocate(self, consumer: str, allocations: dict[str, dict[str, int]]) -> None:
        """Claim resources as Nova does: provider to resource class to amount."""
        body = {
            "allocations": {uuid: {"resources": resources} for uuid, resources in allocations.items()},
            "project_id": "project",
            "user_id": "user",
            "consumer_generation": None,
            "consumer_type": "INSTANCE",
        }
        self.adapter.put(f"/allocations/{consumer}", json=body, headers={"OpenStack-API-Version": "placement 1.38"})


def make_adapter(endpoint: str, token: str) -> adapter.Adapter:
    """A way to a Placement that asks the environment for no proxy."""
    connections = requests.Session()
    connections.trust_env = False
    return adapter.Adapter(session.Session(token_endpoint.Token(endpoint, token), connections), "placement")


@contextlib.contextmanager
def _unseeded() -> Iterator[None]:
    """Numbers that no test has seeded, as hypothesis does before each example.

    Databases are called by such numbers. Of two with one name the second would be made by what made the first one, and
    would stay that of the process when its test ends.
    """
    state = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def running_placement() -> Iterator[PlacementService]:
    """A Placement that holds nothing."""
    endpoint = f"http://{uuid.uuid4()}/placement"
    with contextlib.ExitStack() as stack:

        def start() -> tuple[WSGIApplication, sqlite3.Connection]:
            with _unseeded():
                running = stack.enter_context(placement_fixture.PlacementFixture(TOKEN, use_intercept=False))
            with contextlib.closing(db_api.get_placement_engine().raw_connection()) as pooled:  # of which there is one
                return deploy.loadapp(running.conf_fixture.conf), pooled.driver_connection

        application = Recalled(start, MEMORY)
        stack.enter_context(schemas_checked_once())
        stack.enter_context(interceptor.RequestsInterceptor(lambda: application, url=endpoint))
        stack.callback(application.close)  # first of all, or a thread that is late starts what nobody ends
        yield PlacementService(endpoint, TOKEN, make_adapter(endpoint, TOKEN))


@pytest.fixture
def placement() -> Iterator[PlacementService]:
    """A Placement that holds nothing."""
    with running_placement() as service:
        yield service

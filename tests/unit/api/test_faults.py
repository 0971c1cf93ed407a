# SPDX-License-Identifier: Apache-2.0
"""Whatever a request ends by, or answers, is one of KongMing's own errors."""

from __future__ import annotations

import functools
import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1 import adapter, session, token_endpoint
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.triggers.nova import NovaClient
from kongming_sched.api.faults import words
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.placement.client import Claim, PlacementClient
from kongming_sched.placement.transport import Adapter
from testbed.adapters import Answer, Canned

UUID = "5a1e0000-0000-4000-8000-000000000001"

PLACEMENT: dict[str, Callable[[PlacementClient], object]] = {
    "providers": lambda client: client.providers(),
    "templates": lambda client: client.template_providers(),
    "nodes": lambda client: client.node_summaries(),
    "hosts": lambda client: client.host_summaries(),
    "traits": lambda client: client.traits(UUID),
    "aggregates": lambda client: client.aggregates(UUID),
    "inventories": lambda client: client.inventories(UUID),
    "allocations": lambda client: client.allocations(UUID),
    "claim": lambda client: client.claim(UUID),
    "set a claim": lambda client: client.replace_claim(Claim(UUID, 1, "p", "u", {})),
    "create": lambda client: client.create_provider(UUID, "name"),
    "set traits": lambda client: client.set_traits(UUID, 1, ["CUSTOM_A"]),
    "ensure traits": lambda client: client.ensure_traits(["CUSTOM_A"]),
}

NOVA: dict[str, Callable[[Adapter], object]] = {
    "agent, a server": lambda adapter: NovaClient(adapter).metadata(UUID),
    "agent, a host": lambda adapter: NovaClient(adapter).metadata_of_host("host"),
    "flavors": lambda adapter: list(_compute(adapter).flavors()),
    "servers": lambda adapter: list(_compute(adapter).servers()),
    "hypervisors": lambda adapter: list(_compute(adapter).hypervisors()),
    "a server": lambda adapter: _compute(adapter).find_server("web"),
    "aggregates": lambda adapter: _compute(adapter).aggregates(),
}

ERRORS = [
    ksa_exceptions.ConnectFailure("refused"),
    OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /etc/ssl/ca.pem"),
    ssl.SSLError("certificate verify failed"),
    TimeoutError("no whole answer within 60 s"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    RecursionError("maximum recursion depth exceeded"),
    requests.exceptions.ChunkedEncodingError("connection broken"),
    urllib3.exceptions.LocationParseError("http://[::"),
    http.client.LineTooLong("header line"),
    AttributeError("'list' object has no attribute 'get'"),
]

BRACKETS = Answer(200, "[" * 100_000)


def _compute(adapter: Adapter) -> ComputeClient:
    return ComputeClient(lambda: adapter)


@pytest.mark.parametrize("call", PLACEMENT.values(), ids=PLACEMENT)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_placement_ends_a_request_by_anything(error: Exception, call: Callable[[PlacementClient], object]) -> None:
    """Each kind of error is that Placement is not available."""
    with pytest.raises(exceptions.PlacementUnavailable) as caught:
        call(PlacementClient(Canned(error)))
    assert words(error) == caught.value.reason


@pytest.mark.parametrize("call", NOVA.values(), ids=NOVA)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_nova_ends_a_request_by_anything(error: Exception, call: Callable[[Adapter], object]) -> None:
    """Each kind of error is an error of Nova's API."""
    with pytest.raises(exceptions.ComputeError) as caught:
        call(Canned(error))
    assert words(error) == caught.value.reason


@pytest.mark.parametrize("call", PLACEMENT.values(), ids=PLACEMENT)
def test_placement_answers_brackets(call: Callable[[PlacementClient], object]) -> None:
    """An answer that Python's parser gives up is none of Placement's; where no answer is read it does not matter."""
    if call is PLACEMENT["set a claim"]:
        call(PlacementClient(Canned(BRACKETS)))
        return
    with pytest.raises(exceptions.PlacementUnavailable, match="the answer is not Placement's: RecursionError"):
        call(PlacementClient(Canned(BRACKETS)))


@pytest.mark.parametrize("call", NOVA.values(), ids=NOVA)
def test_nova_answers_brackets(call: Callable[[Adapter], object]) -> None:
    """An answer that Python's parser gives up is none of Nova's."""
    with pytest.raises(exceptions.ComputeError, match=r"the answer is not Nova's.*RecursionError"):
        call(Sdk(BRACKETS))


def test_an_error_page_of_brackets() -> None:
    """An error that cannot be read is reported by its status."""
    with pytest.raises(exceptions.PlacementUnavailable, match="HTTP status 503"):
        PlacementClient(Canned(Answer(503, "[" * 100_000))).providers()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = [
    "resource_providers", "allocations", "allocation_requests", "provider_summaries", "inventories", "traits",
    "aggregates", "uuid", "name", "generation", "root_provider_uuid", "parent_provider_uuid", "resources",
    "total", "reserved", "allocation_ratio", "capacity", "used", "consumer_generation", "project_id", "user_id",
    "resource_provider_generation", "servers", "servers_links", "server", "flavors", "flavor", "flavors_links",
    "metadata", "id", "status", "tenant_id", "extra_specs", "vcpus", "ram", "disk", "swap", "ephemeral",
    "hypervisors", "hypervisor_hostname",
]  # fmt: skip
BODIES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=12),
    max_leaves=12,
)


class Sdk:
    """Answers everything alike, with what openstacksdk reads of an answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def request(self, url: str, method: str, **_: Any) -> Any:  # noqa: ARG002  # the client's own names
        return SimpleNamespace(status_code=self.answer.status_code, json=self.answer.json)


@given(BODIES)
def test_placement_answers_anything(body: object) -> None:
    """Whatever JSON comes, it is read, or it is not Placement's."""
    client = PlacementClient(Canned(Answer(200, json.dumps(body))))
    ends = {_end(functools.partial(call, client)) for call in PLACEMENT.values()}
    assert ends <= {None, exceptions.PlacementUnavailable}


@given(BODIES)
def test_nova_answers_anything(body: object) -> None:
    """Whatever JSON comes, it is read, or it is not Nova's, or what was sought is not in it."""
    nova = Sdk(Answer(200, json.dumps(body)))
    ends = {_end(functools.partial(call, nova)) for call in NOVA.values()}
    assert ends <= {None, exceptions.ComputeError, exceptions.ServerNotFound}


def _end(call: Callable[[], object]) -> type[Exception] | None:
    """What kind of error a call raises; None if it ends well."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # of which kind it is, is what is tested
        return type(error)
    return None


def test_a_file_of_cas_that_is_replaced_just_then(tmp_path: Path) -> None:
    """keystoneauth lets the error of requests pass; it names the file."""
    certificates = tmp_path / "ca.pem"
    auth = token_endpoint.Token("https://127.0.0.1:1/", "token")
    client = PlacementClient(adapter.Adapter(session.Session(auth, verify=str(certificates)), "placement"))
    with pytest.raises(exceptions.PlacementUnavailable, match=str(certificates)):
        client.providers()

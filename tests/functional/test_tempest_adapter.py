# SPDX-License-Identifier: Apache-2.0
"""KongMing's client of Placement over Tempest's HTTP client, against the real Placement."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from tempest.lib.common import rest_client

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.templates import TemplateStore
from kongming_tempest_plugin.placement import Placement, TempestAdapter
from kongming_tempest_plugin.templates import make_template
from testbed.lab.placement_api import TOKEN, PlacementApi


class TokenProvider:
    """Stands for Tempest's provider of tokens and endpoints, which needs a Keystone."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def auth_request(
        self, _method: str, url: str, headers: dict[str, str], body: str | None, _filters: object
    ) -> tuple[str, dict[str, str], str | None]:
        """The request as it is sent."""
        return self._endpoint + url, {**headers, "X-Auth-Token": TOKEN}, body


@pytest.fixture(scope="module")
def placement(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placement]:
    """A Placement that holds nothing at first."""
    with PlacementApi(tmp_path_factory.mktemp("placement")) as api:
        client = rest_client.RestClient(TokenProvider(api.endpoint), "placement", "RegionOne")
        yield Placement(TempestAdapter(client))


def test_templates_are_stored_and_deleted(placement: Placement) -> None:
    """Reads with parameters, writes with bodies, and answers without one."""
    template = make_template("explicit", "gold", "6-7")
    assert template
    store = TemplateStore(placement)

    store.create(template, [str(uuid4())])
    stored = store.get("gold")
    store.delete("gold")

    assert template == stored.template
    assert {} == store.list().templates


def test_what_placement_refuses_is_the_clients_error(placement: Placement) -> None:
    """And not Tempest's, which does not carry Placement's own code."""
    uuid = str(uuid4())
    placement.create_provider(uuid, "host")

    with pytest.raises(exceptions.PlacementError) as refused:
        placement.create_provider(str(uuid4()), "host")
    with pytest.raises(exceptions.PlacementConflict):
        placement.set_traits(uuid, 42, [names.HW_NUMA_ROOT])
    with pytest.raises(exceptions.ProviderNotFound):
        placement.traits(str(uuid4()))

    assert (409, "placement.duplicate_name") == (refused.value.status, refused.value.code)


def test_who_has_nothing_has_no_claims(placement: Placement) -> None:
    """Placement knows nothing of this consumer."""
    assert {} == placement.claims(str(uuid4()))


def test_the_class_of_a_slot_can_be_forgotten(placement: Placement) -> None:
    """It would stay for ever in a cloud where templates are only tried."""
    placement.ensure_resource_classes([names.slot_class("tried")])

    placement.forget_slot_class("tried")

    with pytest.raises(exceptions.PlacementError) as refused:
        placement.forget_slot_class("tried")
    assert 404 == refused.value.status

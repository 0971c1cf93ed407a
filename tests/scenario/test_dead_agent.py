# SPDX-License-Identifier: Apache-2.0
"""A host whose agent is dead takes no servers of templates: Nova finds another one for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kongming_sched.template import PinningTemplate
from tests.scenario.cloud import PREFIX, Cloud

RAM_MB = 64
TEMPLATE = PinningTemplate.from_mapping({"name": "scenario_dead", "cells": [{"vcpus": "0", "cpus": "dedicated"}]})


@pytest.fixture
def flavor(cloud: Cloud) -> Iterator[Any]:
    """A flavor of a template that all hosts of this machine offer."""
    hosts = cloud.hosts.names(emulated=False)
    if cloud.plan is None or len(hosts) < 2:
        pytest.skip("the cloud has less than two hosts with libvirt; tools/cloud up --libvirt-hosts 2 makes two")
    cloud.make_template(TEMPLATE, hosts)
    cloud.wait_for("all offer it", lambda: len(cloud.offering(TEMPLATE.name)) == len(hosts))
    yield cloud.make_flavor(TEMPLATE, RAM_MB, 1)
    cloud.services.restart()
    cloud.delete_all()
    cloud.delete_flavor(f"{PREFIX}{TEMPLATE.name}-{RAM_MB}")
    cloud.templates.delete(TEMPLATE.name)
    cloud.wait_for("none offers it any more", lambda: not cloud.offering(TEMPLATE.name))


def attempts(cloud: Cloud, server: str, action: str, event: str) -> list[tuple[str, str]]:
    """The hosts that have tried something with a server, in that order, with what came of it."""
    (request,) = (found.request_id for found in cloud.compute.server_actions(server) if found.action == action)
    events = [item.to_dict() for item in cloud.compute.get_server_action(request, server).events]
    tried = sorted((item for item in events if item["event"] == event), key=lambda item: str(item["start_time"]))
    return [(item["host"], item["result"]) for item in tried]


@pytest.fixture
def preferred(cloud: Cloud, flavor: Any) -> Iterator[str]:
    """The host that the scheduler takes first for a server of the template, because a plain server is on the other."""
    name = f"{PREFIX}plain"
    cloud.delete_flavor(name)
    plain = cloud.compute.create_flavor(name=name, ram=RAM_MB, vcpus=1, disk=1, is_public=True)
    first, second = cloud.hosts.names(emulated=False)[:2]
    cloud.create_server("plain", plain, host=second)
    (server,) = cloud.create_server("before", flavor)
    assert first == cloud.wait_until_right(server.id, TEMPLATE).host
    cloud.delete_server(server.id)
    yield first
    cloud.delete_all()
    cloud.delete_flavor(name)


def test_sent_to_a_host_whose_agent_is_dead(
    cloud: Cloud, flavor: Any, preferred: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host that is preferred refuses the server, and it runs on the other one, pinned, by the same request."""
    cloud.services.kill(f"{preferred}-agent")

    (server,) = cloud.create_server("after", flavor)

    views = cloud.wait_until_right(server.id, TEMPLATE)
    tried = attempts(cloud, server.id, "create", "compute__do_build_and_run_instance")
    with capsys.disabled():
        print(f"\nattempts: {tried}")
    assert preferred != views.host
    assert [preferred, views.host] == [host for host, _ in tried]


def test_started_on_a_host_whose_agent_is_dead(cloud: Cloud, flavor: Any) -> None:
    """A server that may run nowhere else does not start, and does once the agent is back."""
    (server,) = cloud.create_server("stopped", flavor)
    host = cloud.wait_until_right(server.id, TEMPLATE).host
    cloud.compute.stop_server(server.id)
    cloud.wait_for_status(server.id, "SHUTOFF")
    cloud.services.kill(f"{host}-agent")

    cloud.compute.start_server(server.id)
    cloud.wait_for(
        "Nova gives up", lambda: attempts(cloud, server.id, "start", "compute_start_instance") == [(host, "Error")]
    )
    kernel_view = cloud.kernel_view(server.id, host)
    cloud.services.restart()
    cloud.compute.start_server(server.id)
    cloud.wait_for_status(server.id, "ACTIVE")

    assert None is kernel_view
    cloud.wait_until_right(server.id, TEMPLATE)

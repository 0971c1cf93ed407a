# SPDX-License-Identifier: Apache-2.0
"""Many servers change their template: how often Placement is asked, and what is left when that is broken off."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from kongming_sched import exceptions
from kongming_sched.cli.classes.many import ManyServers
from kongming_sched.cli.classes.plan import Asked
from kongming_sched.cli.classes.which import Which
from kongming_sched.cloud.classes.change import ClassChanger
from kongming_sched.cloud.classes.many import ManyChanger
from kongming_sched.cloud.classes.read import read_classes, template_of
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.transport import Adapter, Response
from testbed.adapters import Answer, Counting, Failing, Failure, Meddling
from testbed.many_servers import MEMORY_MB, StandInNova, build
from tests.functional.conftest import PlacementService

HOSTS, SERVERS = 5, 100
IN_COMMON = 40
"""How many requests are made whatever the number of servers is: of a cloud with two templates."""


@dataclass
class Ending:
    """Passes so many requests on, and then the command is broken off, as by Ctrl-C."""

    adapter: Adapter
    left: int

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Pass a request on, or break off."""
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.adapter.request(url, method, **kwargs)


def run(adapter: Adapter, nova: StandInNova, present: str, wanted: str, **which: Any) -> list[str]:
    """Change the servers that have a template; gives why some could not."""
    client = PlacementClient(adapter)
    changer = ManyChanger(client, TemplateStore(client))
    many = ManyServers(changer, cast(ComputeClient, nova), list(nova.servers()), Which(present, **which), Asked(wanted))
    return [entry.detail for entry in many.run()]


def templates(placement: PlacementService, nova: StandInNova) -> Counter[str | None]:
    """How many servers have each template, each with exactly what that takes."""
    classes, found = read_classes(placement.client), Counter[str | None]()
    for server in nova.servers():
        claim = placement.client.claim(server.id)
        assert claim
        template = template_of(server, classes)
        cpus = {"gold": names.PCPU, "silver": names.VCPU}[template or ""]
        of_nodes = [amounts for amounts in claim.resources.values() if names.MEMORY_MB in amounts]
        assert [{cpus: 1, names.MEMORY_MB: MEMORY_MB}] == of_nodes
        found[template] += 1
    return found


@pytest.fixture
def nova(placement: PlacementService) -> StandInNova:
    """A cloud full of servers of gold."""
    return build(placement.client, HOSTS, SERVERS)


def test_broken_off_and_resumed(
    placement: PlacementService, nova: StandInNova, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both runs together make at most three requests a server, and the second takes up only those that are left."""
    counting = Counting(placement.adapter)
    with pytest.raises(KeyboardInterrupt):
        run(Ending(counting, IN_COMMON + SERVERS), nova, "gold", "silver")
    half = templates(placement, nova)
    assert 0 < half["silver"] < SERVERS
    first = capsys.readouterr().err.splitlines()
    assert [
        f"{half['silver']} of {SERVERS} servers changed to 'silver'.",
        f"{half['gold']} servers left: run the same command again to go on.",
    ] == first

    written = len(posts(counting))
    assert [] == run(counting, nova, "gold", "silver")
    assert {"silver": SERVERS} == templates(placement, nova)
    assert half["gold"] == len(posts(counting)) - written
    assert f"{half['gold']} of {half['gold']} servers changed to 'silver'.\n" == capsys.readouterr().err
    assert len(counting.requests) <= 3 * SERVERS


def posts(counting: Counting) -> list[tuple[str, str]]:
    """The writes of claims."""
    return [request for request in counting.requests if request == ("POST", "/allocations")]


def test_from_class_to_class(placement: PlacementService, nova: StandInNova) -> None:
    """A server that has a class already takes three requests, beside those that all have in common."""
    assert [] == run(placement.adapter, nova, "gold", "silver")
    counting = Counting(placement.adapter)
    assert [] == run(counting, nova, "silver", "gold")
    assert {"gold": SERVERS} == templates(placement, nova)
    assert len(counting.requests) <= 3 * SERVERS + IN_COMMON


@pytest.mark.parametrize("failure", list(Failure))
def test_failing_at_any_request(placement: PlacementService, failure: Failure) -> None:
    """Whichever request fails, each server has either template with what that takes; the next run changes the rest."""
    nova = build(placement.client, 1, 2)
    counting = Counting(placement.adapter)
    run(counting, nova, "gold", "silver")
    for number in range(len(counting.requests)):
        run(placement.adapter, nova, "silver", "gold")
        with contextlib.suppress(exceptions.PlacementError):
            run(Failing(placement.adapter, number, failure), nova, "gold", "silver")
        assert {"gold", "silver"} >= templates(placement, nova).keys()
        run(placement.adapter, nova, "gold", "silver")
        assert {"silver": 2} == templates(placement, nova)


def test_others_write_too(placement: PlacementService) -> None:
    """What others have claimed or given since the cloud was read is read again where Placement refuses a change."""
    nova = build(placement.client, 1, 2)
    servers = list(nova.servers())
    (root,) = placement.client.providers(name=servers[0].host)
    given = list(servers)

    def meddle(method: str, url: str) -> None:
        """Give the first server its class, and fill the shared pool of node 0, right before the first write."""
        if (method, url) == ("POST", "/allocations") and given:
            given.clear()
            client = placement.client
            ClassChanger(client, TemplateStore(client)).change(servers[0], "silver")
            for number in range(15):
                taken = {names.node_uuid(root.uuid, 0): {names.VCPU: 1}}
                placement.allocate(f"00000000-0000-0000-0000-0000000000{number:02}", taken)

    assert [] == run(Meddling(placement.adapter, meddle), nova, "gold", "silver")
    assert {"silver": 2} == templates(placement, nova)
    second = placement.client.claim(servers[1].id)
    assert second
    assert names.node_uuid(root.uuid, 1) in second.resources


def test_placement_goes(placement: PlacementService, capsys: pytest.CaptureFixture[str]) -> None:
    """After three servers in a row that fail because Placement does, the others are left."""
    nova = build(placement.client, 1, 6)

    @dataclass
    class Gone:
        """Refuses to write any claim."""

        adapter: Adapter

        def request(self, url: str, method: str, **kwargs: Any) -> Response:
            """Pass a request on, or answer as a proxy without Placement does."""
            is_write = (method, url) == ("POST", "/allocations")
            return Answer(503, "") if is_write else self.adapter.request(url, method, **kwargs)

    assert 3 == len(run(Gone(placement.adapter), nova, "gold", "silver"))
    want = ["0 of 6 servers changed to 'silver'; 3 could not.", "3 servers left: run the same command again to go on."]
    assert want == capsys.readouterr().err.splitlines()
    assert {"gold": 6} == templates(placement, nova)


def test_a_server_that_goes_or_moves(placement: PlacementService, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is asked for again before it changes: one that Nova has deleted is none, one that it moves could not."""
    nova = build(placement.client, 1, 3)
    gone, moves, _ = nova.servers()
    listed = StandInNova(dict(nova.by_id))
    del nova.by_id[gone.id]
    nova.by_id[moves.id] = replace(moves, task="migrating")
    client = placement.client
    changer = ManyChanger(client, TemplateStore(client))
    many = ManyServers(changer, cast(ComputeClient, nova), list(listed.servers()), Which("gold"), Asked("silver"))
    (entry,) = many.run()
    assert f"server {moves.name} ({moves.id}): Nova is busy with it (migrating); try again later" == entry.detail
    assert "1 of 3 servers changed to 'silver'; 1 could not.\n" == capsys.readouterr().err

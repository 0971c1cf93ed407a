# SPDX-License-Identifier: Apache-2.0
"""Whether a guest can move to another node of its host, and what that changes in its claim."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.move import Move, decide_move, guest_to_move
from kongming_sched.agent.model.view import HostView
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.client import Claim
from tests.unit.agent.hosts import ROOT, Tenant, host, tenant

NODE_0, NODE_1 = names.node_uuid(ROOT, 0), names.node_uuid(ROOT, 1)
WEB = tenant("web", "gold", [0], "1", "9")


def decide(view: HostView, server: str, target: int, cell: int | None = None) -> Move | None:
    """The move of a server."""
    return decide_move(view, lay_out(view), guest_to_move(view.guests, server), target, cell)


def refusal(view: HostView, server: str, target: int, cell: int | None = None) -> str:
    """Why a server cannot move."""
    with pytest.raises(exceptions.MoveRefused) as error:
        decide(view, server, target, cell)
    return error.value.reason


def claim(resources: Mapping[str, Mapping[str, int]]) -> Claim:
    """All that the guest has claimed, provider by provider."""
    return Claim(WEB.guest.uuid, 3, "project", "user", resources)


def test_guest_with_room_moves() -> None:
    """The move says in words what goes where."""
    move = decide(host(WEB), "web", 1)

    assert (0, 1, "server web (a-web) from node 0 to node 1") == (move and move.source, move and move.target, str(move))


def test_guest_that_is_there_already() -> None:
    """There is nothing to move."""
    assert decide(host(WEB), "web", 0) is None


def test_one_cell_of_several() -> None:
    """The cell that moves is named, and the other one stays where it is."""
    view = host(tenant("pair", "twin", [0, 1], "1", "5"))

    reason = refusal(view, "pair", 0, 1)

    assert "its cell 0 is on node 0, and two cells are never on one node" == reason


def test_words_of_one_cell_of_several() -> None:
    """A guest of several cells does not move as a whole."""
    guest = tenant("pair", "twin", [0, 1], "1", "5").guest

    assert "server pair (a-pair), cell 1, from node 1 to node 0" == str(Move(guest, 1, 1, 0, {}))


@pytest.mark.parametrize(
    ("other", "server", "target", "cell", "reason"),
    [
        pytest.param(
            tenant("pair", "twin", [0, 1], "1", "5"),
            "pair",
            0,
            None,
            "it has 2 cells; say which with --cell, 0 to 1",
            id="several cells and none is named",
        ),
        pytest.param(WEB, "web", 1, 1, "it has no cell 1, only 1, counted from 0", id="no such cell"),
        pytest.param(WEB, "web", 1, -1, "it has no cell -1, only 1, counted from 0", id="cell below zero"),
        pytest.param(WEB, "web", 7, None, "this host has no node 7 in Placement; it has 0, 1", id="no such node"),
        pytest.param(
            tenant("bound", "exact", [1], "15"),
            "bound",
            0,
            None,
            "template 'exact' names its host CPUs; change the template instead",
            id="explicit CPUs",
        ),
        pytest.param(
            tenant("home", "first", [0], "1"),
            "home",
            1,
            None,
            "template 'first' or the server's flavor names node 0 for cell 0",
            id="template names its node",
        ),
        pytest.param(
            tenant("float", "bronze", [1], "12"),
            "float",
            0,
            None,
            "node 0 does not offer template 'bronze': needs 1 shared CPUs, the node has 0",
            id="not offered there",
        ),
    ],
)
def test_refused(other: Tenant, server: str, target: int, cell: int | None, reason: str) -> None:
    """The first reason against a move is given."""
    assert reason == refusal(host(other), server, target, cell)


def test_refused_where_the_node_is_full() -> None:
    """What is asked for and what is left are both named."""
    full = host(
        WEB,
        tenant("big", "large", [1], "5", "13", "6", "14"),
        tenant("one", "gold", [1], "7"),
        templates=["gold", "large"],
    )

    assert f"node 1 has no room: asked: 2 {names.PCPU}; available: 0" == refusal(full, "web", 1)


def test_refused_while_released() -> None:
    """The pins of a guest that an administrator has taken over would not follow its claim."""
    view = replace(host(WEB), released=frozenset({WEB.guest.uuid}), immovable=frozenset({WEB.guest.uuid}))

    assert "it is released, so that its pins would not follow; adopt it first" == refusal(view, "web", 1)


def test_refused_without_its_template() -> None:
    """The pins of a guest whose template has gone cannot be worked out."""
    view = host(WEB, templates=["large"])

    assert "template 'gold' does not exist or is not offered to this host; its pins cannot follow its claim" == refusal(
        view, "web", 1
    )


def test_refused_without_a_claim_of_its_own() -> None:
    """While Nova holds the claim under the id of a migration it is not touched."""
    view = host(WEB)
    taken = replace(view.states[NODE_0], allocations={"migration": view.states[NODE_0].allocations[WEB.guest.uuid]})

    assert refusal(replace(view, states={**view.states, NODE_0: taken}), "web", 1).startswith(
        "its flavor's groups are not claimed here under"
    )


def test_refused_where_its_memory_cannot_follow() -> None:
    """libvirt changes no binding but a restrictive one."""
    strict = replace(WEB.guest, identity=replace(WEB.guest.identity, memory_mode="strict"))

    reason = refusal(host(Tenant(strict, (0,))), "web", 1)

    assert "its memory was bound to node 0 (strict) at its start, and libvirt cannot move it while it runs" == reason


def test_node_that_does_not_offer_the_template_yet() -> None:
    """Placement has it not, though the node could."""
    view = host(WEB)
    bare = replace(view.states[NODE_1], traits=view.states[NODE_1].traits - {names.template_trait("gold")})

    reason = refusal(replace(view, states={**view.states, NODE_1: bare}), "web", 1)

    assert "node 1 does not offer template 'gold': the agent has not offered it there yet" == reason


def test_guest_of_a_name() -> None:
    """A server is found by its id and by both of its names."""
    view = host(WEB, tenant("other", "gold", [1], "5", "13"))

    assert [WEB.guest] * 3 == [guest_to_move(view.guests, name) for name in ("web", "a-web", "instance-web")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "no server of this id or name runs on this host with a template; see 'kongming-host map'"),
        ("web", "several servers have this name: a-web, b; name one by its id"),
    ],
    ids=["unknown", "ambiguous"],
)
def test_guest_that_is_not_named_clearly(name: str, reason: str) -> None:
    """No server is guessed."""
    namesake = replace(WEB.guest, domain=replace(WEB.guest.domain, uuid="b"))

    with pytest.raises(exceptions.MoveRefused, match=re.escape(reason)):
        guest_to_move([WEB.guest, namesake], name)


def test_claim_after_the_move() -> None:
    """What the guest has claimed of other providers stays."""
    move = decide(host(WEB), "web", 1)
    assert move is not None
    elsewhere = {"root": {"CUSTOM_OTHER": 1}}
    before = claim({NODE_0: move.resources, **elsewhere})

    after = move.applied_to(before, ROOT)

    assert {NODE_1: move.resources, **elsewhere} == after.resources


def test_claim_that_has_changed() -> None:
    """What was decided about another claim is not done."""
    move = decide(host(WEB), "web", 1)
    assert move is not None
    changed = claim({NODE_0: {names.PCPU: 1}})

    with pytest.raises(exceptions.MoveRefused, match="its claim has just changed; try again"):
        move.applied_to(changed, ROOT)


def test_view_after_the_move() -> None:
    """The layout of what will be seen has the guest on the other node."""
    view = host(WEB)
    move = decide(view, "web", 1)
    assert move is not None

    layout = lay_out(move.seen_after(view))

    assert (1,) == layout.claims[WEB.guest.uuid]
    assert CpuSet.union(layout.guests[WEB.guest.uuid].vcpus) <= CpuSet.parse("5-7,13-15")

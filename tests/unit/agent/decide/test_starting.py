# SPDX-License-Identifier: Apache-2.0
"""Guests that start on CPUs which Nova has chosen: who makes way for them, and what they keep of these CPUs then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kongming_sched.agent.decide.layout import lay_out
from kongming_sched.agent.decide.starting import in_the_way, pins_only, pushed_off, still_in_the_way
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.model.view import GuestLayout, HostLayout, HostView
from kongming_sched.cpuset import CpuSet
from tests.unit.agent.hosts import POOLS, Tenant, host, tenant

POOL = POOLS.dedicated


def pinned_by_nova(server: str, template: str, *vcpus: str) -> Tenant:
    """A guest as Nova starts it on node 0: QEMU's own threads have the CPUs of all vCPUs."""
    return tenant(server, template, [0], *vcpus, emulator=",".join(vcpus))


def beside(starting: Tenant, *tenants: Tenant) -> HostView:
    """A host on which a guest starts beside others."""
    return replace(host(*tenants), starting=(starting.guest,))


def on(layout: HostLayout, server: str) -> list[str]:
    """Where the vCPUs of a guest are to be."""
    return [str(cpus) for cpus in layout.guests[f"a-{server}"].vcpus]


@pytest.mark.parametrize(
    ("template", "vcpus", "kept", "emulator"),
    [
        pytest.param("gold", ["2", "11"], ["2", "11"], "0,4,8", id="any threads"),
        pytest.param("gold", ["2", "10"], ["2", "10"], "0,4,8", id="a core, which QEMU's threads have too"),
        pytest.param("rather", ["1", "2", "3", "9"], ["1", "2", "3", "9"], "0,4,8", id="siblings rather"),
        pytest.param("cores", ["2", "10"], ["2", "10"], "0,4,8", id="a whole core"),
        pytest.param("cores", ["2", "11"], ["2", "10"], "0,4,8", id="half of two cores"),
        pytest.param("alone", ["11"], ["11"], "0,4,8", id="one thread of a core"),
        pytest.param("own", ["3"], ["3"], "11", id="the emulator gets another CPU"),
        pytest.param("apart", ["10"], ["10"], "1,9", id="the emulator gets another core"),
    ],
)
def test_novas_cpus_are_kept(template: str, vcpus: Sequence[str], kept: list[str], emulator: str) -> None:
    """Wherever the template admits it."""
    layout = lay_out(host(pinned_by_nova("web", template, *vcpus)))

    assert {} == layout.problems
    assert kept == on(layout, "web")
    assert emulator == str(layout.guests["a-web"].emulator)


def test_others_go_round_it() -> None:
    """They leave its CPUs, and no other one moves."""
    view = beside(pinned_by_nova("new", "gold", "1", "2"), tenant("old", "gold", [0], "1", "9"))
    layout = lay_out(view)

    assert {} == layout.problems
    assert ["10", "9"] == on(layout, "old")


def test_one_without_another_place_stays() -> None:
    """A guest of whole cores is left where it is while cores are broken, and that is no problem of its own."""
    others = [tenant("one", "alone", [0], "1"), tenant("two", "alone", [0], "2"), tenant("six", "alone", [0], "3")]
    layout = lay_out(beside(pinned_by_nova("new", "gold", "9", "10"), *others))

    assert {} == layout.problems
    assert [["1"], ["2"], ["3"]] == [on(layout, name) for name in ("one", "two", "six")]


def test_its_claim_is_its_own() -> None:
    """No other guest without a claim takes it for that of a migration."""
    new = pinned_by_nova("new", "gold", "1", "2")
    view = host(new, tenant("old", "gold", [0], "3", "11"))
    states = {
        uuid: replace(state, allocations={key: value for key, value in state.allocations.items() if key != "a-old"})
        for uuid, state in view.states.items()
    }
    old = next(guest for guest in view.guests if guest.uuid == "a-old")
    layout = lay_out(replace(view, states=states, guests=(old,), starting=(new.guest,)))

    assert {} == dict(layout.claims)


def test_who_is_in_the_way() -> None:
    """Guests that are pinned to such CPUs; one that floats over the pool has none of its own."""
    guests = [tenant("old", "gold", [0], "1", "9").guest, tenant("loose", "gold", [0], "0-15", "0-15").guest]
    wanted = CpuSet.parse("1-2")
    there = {guest.uuid: GuestLayout((CpuSet.parse("10"), CpuSet.parse("2")), CpuSet.parse("0")) for guest in guests}

    assert {"a-old": CpuSet.parse("1")} == in_the_way(wanted, guests, POOL)
    assert {"a-old": CpuSet.parse("2"), "a-loose": CpuSet.parse("2")} == still_in_the_way(wanted, guests, there, POOL)


def test_who_is_pushed_off() -> None:
    """A guest that is in the pool and has no place there; those that are to stay anyhow are none."""
    view = host(tenant("old", "cores", [0], "1", "9"), tenant("loose", "alone", [0], "0-15"))
    problem = Problem(Reason.NO_PLACE, server(view.guests[0]), "no room")
    crowded = replace(lay_out(view), problems={"a-old": problem, "a-loose": problem})

    assert {"a-old"} == pushed_off(view, crowded)
    assert set() == pushed_off(replace(view, immovable=frozenset(["a-old"])), crowded)
    assert set() == pushed_off(view, lay_out(view))


def test_nothing_but_threads_moves() -> None:
    """Memory and QoS wait for the next pass."""
    layout = lay_out(host(tenant("old", "gold", [0], "1", "9")))
    stripped = pins_only(layout)

    assert layout.guests["a-old"].vcpus == stripped.guests["a-old"].vcpus
    assert (CpuSet(), {}) == (stripped.guests["a-old"].memory_nodes, stripped.guests["a-old"].scheduler)

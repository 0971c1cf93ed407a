# SPDX-License-Identifier: Apache-2.0
"""The order of actions: no CPU of the pool is ever given to two guests, also halfway."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.decide.plan import plan
from kongming_sched.agent.model.actions import Action, Kind
from kongming_sched.agent.model.guest import Domain, Guest, Identity, Threads
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet
from kongming_sched.request import PinningRequest
from testbed.topologies import SHAPES

DEDICATED = CpuSet.parse("2-7")
HOUSEKEEPING = CpuSet.parse("0-1")
ALL = CpuSet.parse("0-7")
REQUEST = PinningRequest("gold", ())


def make_guest(
    uuid: str, *vcpus: str, emulator: str = "0-1", iothreads: dict[int, CpuSet] | None = None, scheduler: int = 1024
) -> Guest:
    """A guest whose vCPUs have these affinities."""
    threads = Threads(dict(enumerate(map(CpuSet.parse, vcpus))), CpuSet.parse(emulator), iothreads or {})
    return Guest(
        Domain(uuid, uuid, "", {"cpu_shares": scheduler}), Identity(uuid, len(vcpus), REQUEST), threads, REQUEST
    )


def layout(*vcpus: str, emulator: str = "0-1", memory: str = "", shares: int = 1024) -> GuestLayout:
    """A layout with these pins."""
    pins = tuple(map(CpuSet.parse, vcpus))
    return GuestLayout(pins, CpuSet.parse(emulator), CpuSet.parse(memory), {"cpu_shares": shares})


def moves(actions: list[Action]) -> list[str]:
    """Actions as a reader would put them."""
    return [f"{action.guest} {action}" for action in actions]


def test_nothing_to_do() -> None:
    """A host that is as it should be needs no action."""
    assert [] == plan([make_guest("a", "2", "3")], {"a": layout("2", "3")}, DEDICATED, HOUSEKEEPING)


def test_leaving_comes_before_arriving() -> None:
    """A guest that leaves the pool goes first, and who takes its CPU follows."""
    guests = [make_guest("a", "0-7"), make_guest("b", "2")]

    actions = plan(guests, {"a": layout("2"), "b": layout("0-1")}, DEDICATED, HOUSEKEEPING)

    assert ["b vCPU 0: CPU 2 -> 0-1", "a vCPU 0: CPU 0-7 -> 2"] == moves(actions)


def test_chain_is_walked_from_its_end() -> None:
    """Each moves when the one before it has gone on."""
    guests = [make_guest("a", "2"), make_guest("b", "3"), make_guest("c", "4")]
    layouts = {"a": layout("3"), "b": layout("4"), "c": layout("5")}

    actions = plan(guests, layouts, DEDICATED, HOUSEKEEPING)

    assert ["c vCPU 0: CPU 4 -> 5", "b vCPU 0: CPU 3 -> 4", "a vCPU 0: CPU 2 -> 3"] == moves(actions)


def test_swap_goes_through_housekeeping() -> None:
    """Of two guests that change places one steps aside first."""
    guests = [make_guest("a", "2"), make_guest("b", "3")]

    actions = plan(guests, {"a": layout("3"), "b": layout("2")}, DEDICATED, HOUSEKEEPING)

    assert ["a vCPU 0: CPU 2 -> 0-1", "b vCPU 0: CPU 3 -> 2", "a vCPU 0: CPU 0-1 -> 3"] == moves(actions)


def test_all_threads_of_a_guest_count() -> None:
    """A CPU on which a guest's emulator or I/O thread is belongs to that guest."""
    leaving = make_guest("b", "3", emulator="3", iothreads={1: CpuSet.parse("3")})
    guests = [make_guest("a", "2"), leaving]

    actions = plan(guests, {"a": layout("3"), "b": layout("4", emulator="4")}, DEDICATED, HOUSEKEEPING)

    assert [
        "b vCPU 0: CPU 3 -> 4",
        "b emulator: CPU 3 -> 4",
        "b I/O thread 1: CPU 3 -> 4",
        "a vCPU 0: CPU 2 -> 3",
    ] == moves(actions)


def test_memory_and_scheduler_follow_the_pins() -> None:
    """Pages move after the vCPUs, and only parameters that differ are set."""
    actions = plan([make_guest("a", "0-7")], {"a": layout("2", memory="1", shares=2048)}, DEDICATED, HOUSEKEEPING)

    assert [
        "a vCPU 0: CPU 0-7 -> 2",
        "a memory: node any -> 1",
        "a cpu_shares 1024 -> 2048",
    ] == moves(actions)


def test_who_cannot_be_moved_stays() -> None:
    """Nothing is done to a guest that cannot be moved, and nobody steps aside who would need its CPU."""
    guests = [make_guest("a", "2", scheduler=512), make_guest("b", "3"), make_guest("c", "4")]
    layouts = {"a": layout("3"), "b": layout("2"), "c": layout("5")}

    actions = plan(guests, layouts, DEDICATED, HOUSEKEEPING, frozenset("a"))

    assert ["c vCPU 0: CPU 4 -> 5", "b vCPU 0: CPU 3 -> 2"] == moves(actions)


def test_who_floats_and_cannot_be_pinned_keeps_nobody_waiting() -> None:
    """A guest is pinned to its CPU although another one, which cannot be pinned, floats over all of them."""
    guests = [make_guest("a", "0-7"), make_guest("b", "0-7")]
    layouts = {"a": layout("0-7"), "b": layout("2")}

    actions = plan(guests, layouts, DEDICATED, HOUSEKEEPING, frozenset("a"))

    assert ["b vCPU 0: CPU 0-7 -> 2"] == moves(actions)


@dataclass(frozen=True)
class Situation:
    """Guests that are pinned apart or float, and pins apart for all of them to go to.

    :ivar dedicated: the host's dedicated pool
    :ivar housekeeping: where a thread waits
    """

    dedicated: CpuSet
    housekeeping: CpuSet
    guests: list[Guest]
    layouts: dict[str, GuestLayout]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Small crowds on hosts of every shape."""
    topology = draw(st.sampled_from(list(SHAPES.values())))
    housekeeping, *others = [core.cpus for node in topology.nodes for core in node.cores]
    dedicated = CpuSet.union(draw(st.permutations(others))[:4])
    names = [f"guest-{index}" for index in range(draw(st.integers(1, 4)))]

    def seats() -> dict[str, list[str]]:
        order = iter(draw(st.permutations(list(dedicated))))
        kinds = {name: draw(st.integers(0, 2)) for name in names}  # how many CPUs of the pool it has
        return {name: [str(cpu) for _, cpu in zip(range(kinds[name]), order, strict=False)] for name in names}

    now, then = seats(), seats()
    guests, layouts = [], {}
    for name in names:
        count = max(len(now[name]), len(then[name]), 1)
        elsewhere = [draw(st.sampled_from([str(housekeeping), str(topology.cpus)])) for _ in range(count)]
        guests.append(make_guest(name, *[*now[name], *elsewhere][:count], emulator=str(housekeeping)))
        pins = [*then[name], *([str(housekeeping)] * count)][:count]
        layouts[name] = layout(*pins, emulator=str(housekeeping))
    return Situation(dedicated, housekeeping, guests, layouts)


@given(situations())
def test_never_two_guests_on_a_cpu(situation: Situation) -> None:
    """After each action no CPU of the pool belongs to two guests, and after the last all is as it should be."""
    guests, layouts = situation.guests, situation.layouts
    on = {
        (guest.uuid, kind, index): cpus
        for guest in guests
        for kind, index, cpus in [
            *((Kind.VCPU, vcpu, cpus) for vcpu, cpus in guest.threads.vcpus.items()),
            (Kind.EMULATOR, 0, guest.threads.emulator),
        ]
    }

    for action in plan(guests, layouts, situation.dedicated, situation.housekeeping):
        key = action.guest, action.kind, action.index
        assert on[key] == action.before
        on[key] = action.cpus
        given_away = [
            (guest, cpu)
            for guest, cpus in {(key[0], cpus) for key, cpus in on.items() if cpus <= situation.dedicated}
            for cpu in cpus
        ]
        owners = {cpu: {guest for guest, other in given_away if other == cpu} for _, cpu in given_away}
        assert all(len(guests) == 1 for guests in owners.values())
    for guest in guests:
        assert layouts[guest.uuid].vcpus == tuple(on[guest.uuid, Kind.VCPU, vcpu] for vcpu in guest.threads.vcpus)

# SPDX-License-Identifier: Apache-2.0
"""What templates say by the clock holds for running servers: a whole day, and clocks and agents that fail."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched.agent.loop.parts import HOURS_SPREAD_SECONDS, hours_delay
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.telemetry import change_log
from kongming_sched.agent.telemetry.change_log import ChangeLog
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostPools
from kongming_sched.template import PinningTemplate
from testbed.adapters import Meddling
from tests.functional.agent.world import DEDICATED, TEMPLATES, World, parts, store_templates
from tests.functional.conftest import PlacementService

USUAL, NIGHT = 1024, 64
HOUSEKEEPING = "emulator 0,4"


def set_hours(world: World, name: str, *periods: dict[str, object], **more: object) -> None:
    """Give a template these periods, in Berlin."""
    hours = [{"zone": "Europe/Berlin", **period} for period in periods]
    template = {**TEMPLATES[name].to_mapping(), "hours": hours, **more}
    TemplateStore(world.placement.client).update(PinningTemplate.from_mapping(template))


def at(text: str) -> datetime:
    """A moment in UTC, an hour behind Berlin in winter."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def run_pass(world: World, text: str) -> Outcome:
    """Let the clock show a moment, and the agent make a single pass."""
    world.moment = at(text)
    return world.run_pass()


def shares(world: World) -> int:
    """The shares of the server."""
    return world.host.scheduler_of(world.servers["silver-1"])["cpu_shares"]


def emulator(world: World) -> str:
    """Where QEMU's own threads of the server are."""
    return world.pins()["silver-1"][-2]


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with a server whose template has other shares from 22:00 to 06:00, by day at 12:00 UTC."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    set_hours(world, "silver", {"from": "22:00", "to": "06:00", "qos": {"shares": NIGHT}, "emulator": "shared"})
    world.boot("silver-1", "silver", 0)
    world.settle()
    return world


def test_a_period_begins_and_ends(world: World) -> None:
    """In the first pass of it, and without a move of a vCPU."""
    seen = []
    before = world.pins()["silver-1"][:2]
    for moment in ("2026-01-01 20:59:59", "2026-01-01 21:00", "2026-01-02 04:59:59", "2026-01-02 05:00"):
        outcome = run_pass(world, moment)
        assert () == outcome.problems
        seen.append((shares(world), emulator(world)))

    usual, night = (USUAL, "emulator 1,9"), (NIGHT, HOUSEKEEPING)
    assert [usual, night, night, usual] == seen
    assert before == world.pins()["silver-1"][:2]


def test_quotas_of_single_vcpus_begin_and_end(world: World) -> None:
    """In a single pass too, though libvirt knows one quota for all."""
    quotas = {"quota_us": 50_000, "vcpus": {0: {"quota_us": 25_000}}}
    set_hours(world, "silver", {"from": "22:00", "to": "06:00", "qos": quotas})
    world.settle()
    seen = []
    for moment in ("2026-01-01 21:00", "2026-01-02 05:00"):
        run_pass(world, moment)
        seen.append(world.host.quotas_of(world.servers["silver-1"]))

    assert [[25_000, 50_000], [-1, -1]] == seen


def test_the_next_pass_is_due_at_the_next_change(world: World) -> None:
    """Of the templates of its guests; without guests nothing is due."""
    set_hours(world, "gold", {"from": "13:30", "to": "14:00", "qos": {"shares": 2}})
    assert 9 * 3600 == run_pass(world, "2026-01-01 12:00").retry_seconds
    assert 0.25 == run_pass(world, "2026-01-01 20:59:59.750").retry_seconds
    world.host.destroy(world.servers["silver-1"])
    assert None is run_pass(world, "2026-01-01 12:00").retry_seconds


def test_a_pass_that_takes_long_is_followed_by_one(world: World) -> None:
    """If a period begins while it is under way, by what it has seen, the next pass is due at once."""
    moments = iter([at("2026-01-01 20:59:50"), at("2026-01-01 21:00:05")])
    world.agent = Reconciler(
        parts(world.host, world.client, world.name, now=lambda: next(moments), hours_delay_seconds=7)
    )
    assert 7 == world.run_pass().retry_seconds


def test_hosts_follow_one_after_another() -> None:
    """Each at its own time within twenty seconds, and never before the hour."""
    delays = [hours_delay(f"compute-{number}") for number in range(1000)]
    assert 0 < min(delays)
    assert max(delays) < HOURS_SPREAD_SECONDS + 1
    assert HOURS_SPREAD_SECONDS == len(set(delays))


def test_an_agent_that_was_down_finds_what_holds(world: World) -> None:
    """It starts in the middle of a period, and again after its end."""
    world.moment = at("2026-01-01 23:30")
    world.start_agent()
    world.run_pass()
    night = shares(world)
    world.moment = at("2026-01-05 12:00")
    world.start_agent()
    world.run_pass()

    assert [NIGHT, USUAL] == [night, shares(world)]


def test_a_clock_that_jumps(world: World) -> None:
    """Forward over a whole period, into one and back before it: what holds at the moment is what counts."""
    seen = []
    for moment in ("2026-01-02 12:00", "2026-01-07 02:00", "2026-01-01 12:00", "1970-01-01 23:00"):
        run_pass(world, moment)
        seen.append(shares(world))

    assert [USUAL, NIGHT, USUAL, NIGHT] == seen


def test_clocks_that_are_changed(world: World) -> None:
    """A night is an hour shorter in spring and an hour longer in autumn, by the clock on the wall."""
    seen = []
    for moment in ("2026-03-28 21:00", "2026-03-29 03:59", "2026-03-29 04:00", "2026-10-24 20:00", "2026-10-25 04:59"):
        run_pass(world, moment)
        seen.append(shares(world))

    assert [NIGHT, NIGHT, USUAL, NIGHT, NIGHT] == seen


def test_hours_hold_without_placement(world: World) -> None:
    """By what it said last; an agent that has never had an answer changes nothing."""
    is_away = False

    def fail(method: str, url: str) -> None:
        if is_away:
            raise ksa_exceptions.ConnectFailure(f"{method} {url}: connection refused")

    world.adapter = Meddling(world.adapter, fail)
    world.start_agent()
    world.settle()
    is_away = True
    seen = []
    outcome = run_pass(world, "2026-01-01 21:00")
    seen.append(shares(world))
    world.start_agent()
    run_pass(world, "2026-01-02 12:00")
    seen.append(shares(world))

    assert not outcome.is_placement_well
    assert [NIGHT, NIGHT] == seen


def test_the_history_says_which_hours(world: World, tmp_path: Path) -> None:
    """That a period began or ended is why a server was changed."""
    history = ChangeLog()
    history.write_to(tmp_path / "history.jsonl", 1)
    for moment in ("2026-01-01 12:00", "2026-01-01 21:00", "2026-01-02 05:00"):
        history.record(run_pass(world, moment))
    history.close()

    period = "every day 22:00-06:00 Europe/Berlin"
    assert [
        ("64", f"hours of template silver: {period} began"),
        ("1024", f"hours of template silver: {period} ended"),
    ] == [(line.after, line.why) for line in change_log.read(tmp_path / "history.jsonl") if line.what == "cpu_shares"]


BY_HOUR = {
    "gold": [(0, 7, 300, False), (20, 24, 200, False)],
    "silver": [(8, 12, USUAL, True), (12, 13, 400, True)],
    "bronze": [(22, 6, 600, False)],
}
"""The rules of three templates in Berlin: from an hour, to another, the shares, and whether the emulator is shared."""
USUALLY = {"gold": 2048, "silver": USUAL, "bronze": USUAL}


def expected(template: str, wall: datetime) -> tuple[int, bool]:
    """What the rules say while clocks in Berlin show this: the shares, and whether the emulator is shared."""
    for start, end, weight, is_shared in BY_HOUR[template]:
        if start <= wall.hour < end or (end < start and not end <= wall.hour < start):
            return weight, is_shared or template != "silver"
    return USUALLY[template], template != "silver"


@pytest.mark.parametrize(
    ("day", "offsets"),
    [
        pytest.param("2026-01-14", (1, 1), id="of 24 hours"),
        pytest.param("2026-03-29", (1, 2), id="of 23 hours"),
        pytest.param("2026-10-25", (2, 1), id="of 25 hours"),
    ],
)
def test_a_whole_day(placement: PlacementService, day: str, offsets: tuple[int, int]) -> None:
    """Three templates and 30 guests are what the rules say in each minute, with a pass only when one is due.

    :param offsets: the hours that clocks in Berlin are ahead of UTC, before 01:00 UTC and from then on
    """
    store_templates(placement.client)
    world = World(placement, "host", pools=HostPools(DEDICATED, CpuSet.parse("8,12"), CpuSet.parse("0,4"), 16.0, 64))
    world.settle()
    for name, rules in BY_HOUR.items():
        periods: list[dict[str, object]] = []
        for begin, finish, weight, is_shared in rules:
            other: dict[str, object] = {"qos": {"shares": weight}} | ({"emulator": "shared"} if is_shared else {})
            periods.append({"from": f"{begin}:00", "to": f"{finish}:00", **other})
        set_hours(world, name, *periods, qos={"shares": USUALLY[name]})
    nodes = {"gold": [0, 1], "silver": [0, 0, 1], "bronze": [0, 1] * 12 + [0]}
    servers = {f"{name}-{index}": (name, node) for name in nodes for index, node in enumerate(nodes[name])}
    world.moment = at(day) - timedelta(hours=3)
    for server, (name, node) in servers.items():
        world.boot(server, name, node)
    world.settle()

    end, passes = at(day) + timedelta(hours=27), 0
    while world.moment < end:
        outcome = world.run_pass()
        passes += 1
        assert () == outcome.problems
        pins = world.pins()
        found = {
            name: (world.host.scheduler_of(world.servers[name])["cpu_shares"], HOUSEKEEPING == pins[name][-2])
            for name in servers
        }
        assert outcome.retry_seconds is not None
        following = world.moment + timedelta(seconds=outcome.retry_seconds)
        while world.moment < following:
            wall = world.moment + timedelta(hours=offsets[world.moment >= at(f"{day} 01:00")])
            assert {name: expected(of, wall) for name, (of, _) in servers.items()} == found
            world.moment += timedelta(minutes=1)
        assert following == world.moment

    assert 30 == len(servers)
    assert passes < 20
    assert CpuSet() == world.host.shared_at_any_time

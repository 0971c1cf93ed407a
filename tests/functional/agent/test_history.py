# SPDX-License-Identifier: Apache-2.0
"""What stands in the history of a host for what an operator sees happen there, and how ``kongming-host`` shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest

from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.commands import app
from kongming_sched.agent.loop.orders import ReconcilerAccess
from kongming_sched.agent.model.outcome import Outcome
from kongming_sched.agent.telemetry import change_log
from kongming_sched.agent.telemetry.change_log import ChangeLog
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostCpus
from kongming_sched.schemas import load_schema
from kongming_sched.template import PinningTemplate
from tests.functional.agent.world import World, store_templates
from tests.functional.conftest import PlacementService


class Recorded:
    """An agent's passes over a host, with their history."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path
        self.history = ChangeLog()
        self.history.write_to(path, 1)
        self._shown = 0

    def run_pass(self) -> list[tuple[str, str, str, str]]:
        """Make a pass; gives what it has added for vCPU 0 of each server, by the server's last digits."""
        self.history.record(self.world.run_pass())
        return self.new()

    def new(self) -> list[tuple[str, str, str, str]]:
        """What was added, of vCPUs 0 and claims."""
        changes = list(change_log.read(self.path))
        new, self._shown = changes[self._shown :], len(changes)
        names = {uuid: name for name, uuid in self.world.servers.items()}
        return [
            (names[change.server.id], change.before, change.after, change.why.split(", version")[0])
            for change in new
            if change.what in ("vCPU 0", "claim")
        ]


@pytest.fixture
def recorded(placement: PlacementService, tmp_path: Path) -> Iterator[Recorded]:
    """A registered host without servers."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    recorded = Recorded(world, tmp_path / "history.jsonl")
    recorded.run_pass()
    yield recorded
    recorded.history.close()


def test_reasons_of_a_server(recorded: Recorded) -> None:
    """It starts, is moved by hand and brought back, and its template changes, each with a reason."""
    world = recorded.world
    world.boot("web", "silver", 0)
    assert [("web", "CPU 0-15", "CPU 1", "it started; template silver")] == recorded.run_pass()

    world.host.set_affinity(world.servers["web"], 0, CpuSet.parse("3"))
    assert [("web", "CPU 3", "CPU 1", "something else had changed it; template silver")] == recorded.run_pass()

    changed = {"name": "silver", "cells": [{"vcpus": "0-1", "cpus": "dedicated"}], "qos": {"shares": 512}}
    TemplateStore(world.placement.client).update(PinningTemplate.from_mapping(changed))
    assert [] == recorded.run_pass()
    last = list(change_log.read(recorded.path))[-1]
    assert ("cpu_shares", "512") == (last.what, last.after)
    assert last.why.startswith("template silver was changed: version ")


def test_move_on_an_order(recorded: Recorded) -> None:
    """The claim stands in front of the pins that follow it, and all have the order as their reason."""
    world = recorded.world
    world.boot("web", "silver", 0)
    recorded.run_pass()

    def reconcile(cpus: HostCpus) -> Outcome:
        outcome = world.agent.run(cpus)
        recorded.history.record(outcome, "ordered: move")
        return outcome

    access = ReconcilerAccess(
        world.agent,
        world.cpus,
        reconcile,
        lambda server, before, after: recorded.history.record_claim(server, before, after, "ordered: move"),
    )
    Mover(access, world.host, PlacementClient(world.adapter)).move(world.servers["web"], 1)

    assert [("web", "node 0", "node 1", "ordered: move"), ("web", "CPU 1", "CPU 6", "ordered: move")] == recorded.new()


def test_command(recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, with ids on request, and a list for programs; a server and a time limit both."""
    world = recorded.world
    for name in ("web", "db"):
        world.boot(name, "silver", 0)
    recorded.run_pass()
    config = tmp_path / "agent.conf"
    config.write_text(f"[kongming_agent]\nhistory_file = {recorded.path}\n")

    def run(*arguments: str) -> str:
        assert 0 == app.main(["history", "--config-file", str(config), *arguments])
        return capsys.readouterr().out

    uuid = world.servers["web"]
    shown = json.loads(run(uuid, "--long", "-f", "json", "--since", "1h"))
    jsonschema.validate(shown, load_schema("kongming-host-history-v1"))
    assert {uuid} == {row["Server ID"] for row in shown}
    assert {"vCPU 0", "vCPU 1", "emulator", "memory"} == {row["Change"] for row in shown}
    table = run("--since", "7d")
    assert ["Time", "Server", "Change", "From", "To", "Reason"] == [
        title.strip() for title in table.splitlines()[1].strip("|").split("|")
    ]
    later = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    assert [] == json.loads(run("-f", "json", "--since", later))


@pytest.mark.parametrize("time", ["yesterday", "25h ago", "2026-13-01", "9999999d", ""])
def test_wrong_time(capsys: pytest.CaptureFixture[str], time: str) -> None:
    """The message says what a time looks like; the exit code is that of wrong usage."""
    with pytest.raises(SystemExit) as ended:
        app.main(["history", "--since", time])

    assert 2 == ended.value.code
    assert "is no time; write one as 2026-11-29T08:00, or how long ago it was as 90min, 12h or 7d" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty option, and a file that is not there, each have their message and exit code 1."""
    config = tmp_path / "agent.conf"
    config.write_text("[kongming_agent]\nhistory_file =\n")

    assert 1 == app.main(["history", "--config-file", str(config)])
    assert "option [kongming_agent] history_file: is empty, so that no history is kept" in capsys.readouterr().err

    config.write_text(f"[kongming_agent]\nhistory_file = {tmp_path}/none/history.jsonl\n")

    assert 1 == app.main(["history", "--config-file", str(config)])
    assert f"there is no directory {tmp_path}/none" in capsys.readouterr().err

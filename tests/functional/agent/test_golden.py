# SPDX-License-Identifier: Apache-2.0
"""Every command of kongming-host: its help, and empty, successful and failing output, as it stands in ``golden/``.

``KONGMING_RENEW=1 pytest tests/functional/agent/test_golden.py`` writes these files anew. Placement is real, guests are
simulated; in tests/functional/agent/test_inspecting_commands.py they are real.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from kongming_sched.agent.commands import app, release
from kongming_sched.agent.inspect import site
from kongming_sched.agent.model.guest import HelperThread
from kongming_sched.agent.model.noise import HostNoise, Interrupt
from kongming_sched.agent.model.problem import Subject, SubjectKind
from kongming_sched.agent.telemetry.change_log import Change
from kongming_sched.cpuset import CpuSet
from tests.functional.agent.world import World, store_templates, working_agent
from tests.functional.cli.shell import Done, run_here
from tests.functional.conftest import PlacementService
from tests.functional.transcript import check_schema, golden, transcript
from tests.unit.test_packaging import setup_cfg

GOLDEN = Path(__file__).parent / "golden"

CONFIGURATION = """\
[kongming_agent]
host = compute-1
dedicated_cpu_set = {pools.dedicated}
shared_cpu_set = {pools.shared}
housekeeping_cpu_set = {pools.housekeeping}
vcpu_allocation_ratio = {pools.vcpu_allocation_ratio}
reserved_memory_mb = {pools.reserved_memory_mb}
run_directory = run
history_file = history.jsonl
[placement]
auth_type = admin_token
endpoint = {endpoint}
token = {token}
"""

SERVERS = {
    "silver-1": "5e00e000-0000-4000-8000-00000000000a",
    "silver-2": "5e00e000-0000-4000-8000-00000000000b",
    "bronze-1": "5e00e000-0000-4000-8000-00000000000c",
    "exact-1": "5e00e000-0000-4000-8000-00000000000d",
    "gold-1": "5e00e000-0000-4000-8000-00000000000e",
}
SILVER, OTHER = "server-instance-0000000a", "server-instance-0000000b"

INTERRUPTS = (Interrupt(24, ("nvme0q3",), CpuSet.parse("0-15"), CpuSet.of([5])),)

BARE = "on a host without guests, whose agent does not run"
RIGHT = "on a host whose agent has pinned its guests"
MISPLACED = "after a vCPU was moved by hand, and a guest has started"

AT = datetime(2026, 11, 29, 2, 58, 35, tzinfo=timezone.utc)
WEB = Subject(SubjectKind.SERVER, "web-1", SERVERS["silver-1"])
CHANGES = (
    Change(AT, WEB, "vCPU 0", "CPU 0-15", "CPU 2", "it started; template gold, version 3"),
    Change(AT, WEB, "memory", "", "node 0", "it started; template gold, version 3"),
    Change(
        AT.replace(hour=5),
        Subject(SubjectKind.SERVER, "db\x1b[1m", SERVERS["silver-2"]),
        "claim",
        "node 0",
        "node 1",
        "ordered: move server db to node 1",
    ),
)
"""What an agent has written down; a tenant has put a control character into a name."""

COMMANDS: dict[str, dict[str, list[str]]] = {
    "map": {
        BARE: ["-f value -c CPU -c Pool -c Runs", "--html nowhere/map.html", "--config-file nowhere.conf"],
        RIGHT: ["", "-f json"],
    },
    "plan": {BARE: ["", "-f json"], RIGHT: [""], MISPLACED: ["", "-f json"]},
    "verify": {BARE: ["", "-f json"], RIGHT: ["", "-f json", "--faults"], MISPLACED: ["--faults", "--faults -f json"]},
    "move": {
        BARE: [f"{SILVER} --node 1"],
        RIGHT: [
            f"{SILVER} --node 1 --dry-run",
            f"{SILVER} --node 1",
            f"{SILVER} --node 1",
            "server-instance-0000000d --node 0",
            f"{SILVER} --node 7",
            "nobody --node 1",
            SILVER,
        ],
    },
    "rebalance": {BARE: [""], RIGHT: ["--dry-run", "", ""]},
    "release": {BARE: ["nobody", "--all"], RIGHT: [SILVER, "", f"{SILVER} --all"]},
    "adopt": {BARE: ["nobody", "--all"], RIGHT: [SILVER]},
    "history": {
        BARE: ["", "-f json"],
        RIGHT: [
            "",
            "--long -f json",
            "web-1 -f value -c Change -c From -c To",
            "--since 2026-11-29T05:00Z -f csv",
            "--since soon",
            "nobody",
        ],
    },
    "hook install": {BARE: ["--directory hooks", "--directory hooks", "--directory theirs", "--directory agent.conf"]},
    "hook show": {
        BARE: ["--directory hooks", "--directory hooks -f json", "--directory theirs"],
        RIGHT: ["--directory hooks", "--directory hooks -f json"],
    },
    "hook remove": {BARE: ["--directory hooks", "--directory theirs"], RIGHT: ["--directory hooks"]},
}
"""Command to what has become of the host to what it is asked there."""


@pytest.fixture
def world(placement: PlacementService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A host without guests, which the commands take for the one that they run on."""
    store_templates(placement.client)
    world = World(placement, "compute-1", directory=tmp_path / "run")
    world.servers = dict(SERVERS)
    world.settle()
    for module in (site, release):
        monkeypatch.setattr(module, "LibvirtHypervisor", lambda _uri: world.host)
        monkeypatch.setattr(module, "Host", lambda: world.host)
    monkeypatch.setattr(site, "read_noise", lambda _cpus: HostNoise(interrupts=INTERRUPTS))
    monkeypatch.setattr(app.HostApp, "NAME", "kongming-host")  # which cliff reads from this process's name
    monkeypatch.chdir(tmp_path)
    words = {"endpoint": placement.endpoint, "token": placement.token, "pools": world.pools}
    Path("agent.conf").write_text(CONFIGURATION.format(**words))
    foreign = Path("theirs/qemu.d/90-kongming")
    foreign.parent.mkdir(parents=True)
    foreign.write_text("#!/bin/sh\n")
    return world


def put_right(world: World) -> None:
    """Servers with explicit, dedicated and floating vCPUs."""
    world.boot("silver-1", "silver", 0)
    world.boot("silver-2", "silver", 1)
    world.boot("bronze-1", "bronze", 1)
    world.boot("exact-1", "exact", 1)
    for number, name in ((4711, "call_rcu"), (4712, "worker"), (4713, "worker")):
        world.host.add_helper(SERVERS["bronze-1"], HelperThread(number, name, CpuSet.parse("0-15")))
    world.settle()
    Path("history.jsonl").write_text("".join(f"{change.as_json()}\n" for change in CHANGES))
    ask("hook install --directory hooks")


def misplace(world: World) -> None:
    """What the agent has not seen yet."""
    world.host.set_affinity(SERVERS["silver-2"], 0, CpuSet.parse("0-15"))
    world.host.add_helper(SERVERS["bronze-1"], HelperThread(4714, "iou-wrk-4710", CpuSet.parse("0-1"), is_bound=True))
    world.boot("gold-1", "gold", 0)


SCENES: dict[str, Callable[[World], None]] = {BARE: lambda _world: None, RIGHT: put_right, MISPLACED: misplace}


def ask(words: str) -> Done:
    """Run kongming-host with the agent's configuration, which the golden files leave out."""
    arguments = shlex.split(words)
    if not {"--config-file", "--help"} & set(arguments):
        arguments += ["--config-file", "agent.conf"]
    environment = {name: value for name, value in os.environ.items() if name != "TERM"} | {"COLUMNS": "80"}
    return run_here(lambda: app.main(arguments), environment)


@pytest.mark.parametrize("name", COMMANDS)
def test_output_is_as_it_was_reviewed(world: World, name: str) -> None:
    """Word for word; what is printed as JSON is valid against its published schema."""
    text = transcript(f"kongming-host {name} --help", ask(f"{name} --help"))
    for scene, happen in SCENES.items():
        happen(world)
        if scene not in COMMANDS[name]:
            continue
        text += f"-- {scene}\n\n"
        with contextlib.nullcontext() if scene == BARE else working_agent(world, Path("run")):
            for words in COMMANDS[name][scene]:
                done = ask(f"{name} {words}")
                check_schema(f"kongming-host-{name.replace(' ', '-')}", words, done)
                text += transcript(f"kongming-host {name} {words}", done)
    text = text.replace(f"{Path.cwd()}/", "")
    assert text == golden(GOLDEN / f"{name.replace(' ', '-')}.txt", text)


def test_every_command_has_a_golden_file() -> None:
    """And no file is of a command that is gone."""
    section = setup_cfg()["entry_points"]["kongming_sched.host"]
    commands = {line.partition("=")[0].strip().replace("_", " ") for line in section.splitlines() if line}
    assert commands == set(COMMANDS)
    assert commands == {path.stem.replace("-", " ") for path in GOLDEN.glob("*.txt")}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_of_the_command(name: str) -> None:
    """That can be copied."""
    text = (GOLDEN / f"{name.replace(' ', '-')}.txt").read_text().partition("\n$ ")[0]
    assert f"\nExample:\n\n  kongming-host {name}" in text

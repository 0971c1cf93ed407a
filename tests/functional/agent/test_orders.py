# SPDX-License-Identifier: Apache-2.0
"""kongming-host move and rebalance, over the socket, by an agent on a simulated host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kongming_sched.agent.ipc.client import GREETING
from kongming_sched.agent.ipc.listener import Listener
from testbed.waiting import PATIENCE_SECONDS
from tests.functional.agent.world import World, store_templates, working_agent
from tests.functional.conftest import PlacementService

HOST = [sys.executable, "-c", "import sys; from kongming_sched.agent.commands.app import main; sys.exit(main())"]
Command = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def world(placement: PlacementService) -> World:
    """A host with a small server on each node."""
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("silver-1", "silver", 0)
    world.boot("silver-2", "silver", 1)
    world.settle()
    return world


@pytest.fixture
def listener(world: World, tmp_path: Path) -> Iterator[Listener]:
    """The socket, and an agent that carries out orders."""
    with working_agent(world, tmp_path / "run") as listener:
        yield listener


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs kongming-host; gives its exit code, its lines, and what it says is wrong."""
    (tmp_path / "agent.conf").write_text(f"[kongming_agent]\nrun_directory = {tmp_path}/run\n")

    def run(*words: str) -> tuple[int, list[str], str]:
        arguments = [*HOST, *words, "--config-file", str(tmp_path / "agent.conf")]
        said = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        return said.returncode, said.stdout.splitlines(), said.stderr.strip()

    return run


@pytest.mark.usefixtures("listener")
def test_move(world: World, command: Command) -> None:
    """The command says what the agent did, and ends with 0."""
    uuid = world.servers["silver-1"]

    code, lines, wrong = command("move", uuid, "--node", "1")

    assert (0, "") == (code, wrong)
    assert [f"moved server server-instance-{uuid[-8:]} ({uuid}) from node 0 to node 1"] == lines
    assert "memory 1" == world.pins()["silver-1"][-1]


@pytest.mark.usefixtures("listener")
def test_move_that_is_refused(world: World, command: Command) -> None:
    """The command says why not, and ends with 1."""
    uuid = world.servers["silver-1"]

    code, lines, wrong = command("move", uuid, "--node", "7")

    reason = "this host has no node 7 in Placement; it has 0, 1"
    assert (1, [], f"server server-instance-{uuid[-8:]} ({uuid}) stays where it is: {reason}") == (code, lines, wrong)


@pytest.mark.usefixtures("listener")
def test_rebalance(world: World, command: Command) -> None:
    """One server moves, and the largest request that fits takes a node of its own."""
    before = world.pins()

    plan = command("rebalance", "--dry-run")
    planned = world.pins()
    done = command("rebalance")
    again = command("rebalance")

    uuid = world.servers["silver-1"]
    first = "the largest request that fits on one node now takes 4 dedicated CPUs, and 6 after 1 move"
    name = f"server server-instance-{uuid[-8:]}"
    assert (0, [first, f"would move {name} ({uuid}) to node 1"], "") == plan
    assert before == planned
    assert (0, [first, f"moved {name} ({uuid}) from node 0 to node 1"], "") == done
    assert (0, ["the largest request that fits on one node now takes 6 dedicated CPUs; no moves help"], "") == again
    assert ["memory 1", "memory 1"] == [pins[-1] for pins in world.pins().values()]


def test_no_agent(command: Command, tmp_path: Path) -> None:
    """Without an agent nothing is done, and the command says what to start."""
    code, lines, wrong = command("move", "any", "--node", "1")

    expected = f"no agent listens at {tmp_path}/run/agent.sock; start kongming-agent, it does the work"
    assert (1, [], expected) == (code, lines, wrong)


def test_agent_that_ends(command: Command, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that ends before it has answered is no success."""
    monkeypatch.setattr(listener, "_wake", listener.close)

    code, lines, wrong = command("move", "any", "--node", "1")

    assert (1, []) == (code, lines)
    assert "gave no answer; look at its log for how it ended" in wrong


@pytest.mark.parametrize(
    "order", [b"", b"[]", b"{}", b'{"order": "dance"}', b'{"order": "move", "server": "a", "node": "x"}', b"\xff"]
)
def test_what_is_no_order(listener: Listener, order: bytes) -> None:
    """What is no order is refused or not answered, and the agent goes on."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(str(listener.path))
        connection.sendall(GREETING + order)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert not answer or "error" in json.loads(answer)

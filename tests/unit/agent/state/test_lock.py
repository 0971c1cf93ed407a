# SPDX-License-Identifier: Apache-2.0
"""One agent for a host, whatever its run directory is and whatever is removed from it."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched.agent.state.lock import HostLock
from kongming_sched.exceptions import ConfigurationError

LOCK_ELSEWHERE = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from kongming_sched.agent.state.lock import HostLock
    from kongming_sched.exceptions import ConfigurationError
    try:
        HostLock().claim(Path(sys.argv[1]), sys.argv[2])
        print("it works beside the first")
    except ConfigurationError as error:
        print(error)
    """
)

HOLD_AS_ANOTHER_USER = textwrap.dedent(
    """
    import socket, sys, os
    os.setuid(65534)
    holder = socket.socket(socket.AF_UNIX)
    holder.bind(b"\\0" + sys.argv[1].encode())
    holder.listen()
    print("held", flush=True)
    sys.stdin.read()
    """
)


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A name that no other test has, too long for a socket's."""
    return f"{tmp_path}/{'x' * 100}"


@pytest.fixture
def lock(tmp_path: Path, name: str) -> Iterator[HostLock]:
    """That of an agent with the run directory ``run``."""
    lock = HostLock()
    lock.claim(tmp_path / "run", name)
    yield lock
    lock.release()


def second_agent(directory: Path, name: str) -> str:
    """What another process says that wants to be the agent."""
    command = [sys.executable, "-c", LOCK_ELSEWHERE, str(directory), name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def refusal(name: str = "") -> str:
    """What it says if this process is the agent."""
    where = f" with {name}" if name else ""
    option = "run_directory" if name else "lock_name"
    return (
        f"option [kongming_agent] {option}: another agent, process {os.getpid()}, works on this host{where};"
        " end one of them"
    )


@pytest.mark.usefixtures("lock")
def test_another_directory_of_the_host(tmp_path: Path, name: str) -> None:
    """Two run directories do not make two hosts, and the error names the first agent however often it is asked."""
    assert [refusal()] * 3 == [second_agent(tmp_path / "other", name) for _ in range(3)]


@pytest.mark.usefixtures("lock")
def test_another_network_of_the_host(tmp_path: Path, name: str) -> None:
    """A second agent that does not see the name, as in a container with a network of its own, finds the directory."""
    assert refusal(str(tmp_path / "run")) == second_agent(tmp_path / "run", name + "2")


@pytest.mark.usefixtures("lock")
def test_another_host(tmp_path: Path, name: str) -> None:
    """Another name and another directory are another host."""
    assert "it works beside the first" == second_agent(tmp_path / "other", name + "2")


@pytest.mark.parametrize("spoil", ["removed", "replaced", "removed with its directory"])
def test_files_that_go(lock: HostLock, tmp_path: Path, name: str, spoil: str) -> None:
    """Without its file the lock keeps others away still; the file is made again, once, and locked."""
    path = tmp_path / "run" / "agent.lock"
    path.unlink()
    if spoil == "replaced":
        path.write_text("1\n")
    elif spoil == "removed with its directory":
        path.parent.rmdir()

    refused = second_agent(tmp_path / "run", name)
    renewed = [lock.renew(), lock.renew()]

    assert (refusal(), [True, False]) == (refused, renewed)
    assert f"{os.getpid()}\n" == path.read_text()
    assert refusal(str(tmp_path / "run")) == second_agent(tmp_path / "run", name + "2")


def test_a_file_that_another_agent_has_now(lock: HostLock, tmp_path: Path, name: str) -> None:
    """An agent in another network that took the file meanwhile is named, and the first goes on to hold its name."""
    (tmp_path / "run" / "agent.lock").unlink()
    other = HostLock()
    other.claim(tmp_path / "run", name + "2")

    with pytest.raises(ConfigurationError, match=f"another agent, process {os.getpid()}, works on this host with"):
        lock.renew()
    other.release()

    assert (True, refusal()) == (lock.renew(), second_agent(tmp_path / "other", name))


def test_many_who_ask(lock: HostLock, name: str) -> None:
    """After a pass there is room again for those who ask which process has the name."""
    address = b"\0" + hashlib.sha256(name.encode()).hexdigest().encode()

    def ask() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(address) == 0

    crowd = [ask() for _ in range(200)]
    lock.renew()

    assert (True, False, True) == (crowd[0], crowd[-1], ask())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_name_that_another_user_holds(tmp_path: Path) -> None:
    """A user of the host cannot keep the agent from starting; the agent says so, and takes the name once it is free."""
    name = f"kongming-test-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AS_ANOTHER_USER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert b"held\n" == holder.stdout.readline()
        lock = HostLock()
        lock.claim(tmp_path / "run", name)
        lock.renew()
        during = lock.problem
        holder.communicate()
    lock.renew()
    refused = second_agent(tmp_path / "other", name)
    lock.release()

    assert during.startswith(f"process {holder.pid} of user 65534 holds the name {name!r} that only an agent should")
    assert ("", refusal()) == (lock.problem, refused)


def test_settings_that_change(lock: HostLock, tmp_path: Path, name: str) -> None:
    """With another directory and another name the ones before are free; a claim that is refused changes nothing."""
    other = HostLock()
    other.claim(tmp_path / "other", name + "2")
    with pytest.raises(ConfigurationError, match="works on this host with"):
        lock.claim(tmp_path / "other", name + "3")
    kept = second_agent(tmp_path / "run", name)
    lock.claim(tmp_path / "third", name + "3")

    assert (refusal(), "it works beside the first") == (kept, second_agent(tmp_path / "run", name))
    assert refusal() == second_agent(tmp_path / "run", name + "3")
    other.release()

# SPDX-License-Identifier: Apache-2.0
"""A directory that belongs to the agent alone: nothing that another user could have put there is used."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kongming_sched.agent.ipc.listener import Listener
from kongming_sched.agent.own_directory import OwnDirectory
from kongming_sched.agent.state.json_file import load_state, read_state, write_state
from kongming_sched.agent.state.lock import HostLock
from kongming_sched.exceptions import ConfigurationError

OTHER_USER = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A directory of root's with a file, neither of which may change."""
    directory = tmp_path / "precious"
    directory.mkdir(mode=0o755)
    file = directory / "shadow"
    file.write_text('{"a": 1}')
    yield directory
    assert (["shadow"], '{"a": 1}', 0o755) == (
        [path.name for path in directory.iterdir()],
        file.read_text(),
        directory.stat().st_mode & 0o777,
    )


def linked_directory(run: Path, precious: Path) -> str:
    """Put a link in place of the directory."""
    run.symlink_to(precious)
    return f"{run} is a symbolic link; name the directory itself, or remove the link"


def linked_file(run: Path, precious: Path) -> str:
    """Put a link in place of each file that the agent writes."""
    run.mkdir(mode=0o700)
    for name in ("agent.lock", "agent.sock", "state.json", "state.new"):
        (run / name).symlink_to(precious / "shadow")
    return f"{run}/[a-z.]+ is a symbolic link: it is not the agent's; remove it"


def hard_linked_file(run: Path, precious: Path) -> str:
    """Put another name of the file in place of the lock."""
    run.mkdir(mode=0o700)
    for name in ("agent.lock", "state.json"):
        (run / name).hardlink_to(precious / "shadow")
    return f"{run}/[a-z.]+ is a file that has another name too, a hard link: it is not the agent's; remove it"


def open_to_all(run: Path, _precious: Path) -> str:
    """Let every user write to the directory."""
    run.mkdir()
    run.chmod(0o777)
    return rf"others may write to {run} \(mode 0777\); remove what they .* and close it with 'chmod 700 {run}'"


def open_above(run: Path, _precious: Path) -> str:
    """Let every user rename the directory."""
    run.mkdir(mode=0o700)
    run.parent.chmod(0o777)
    return f"others may write to {run.parent}, which leads to {run}, and could put another directory there"


def of_another_user(run: Path, _precious: Path) -> str:
    """Let another user have made the directory."""
    run.mkdir(mode=0o700)
    os.chown(run, OTHER_USER, OTHER_USER)
    return f"{run} belongs to user 65534, and this is user 0; run as the user to whom it belongs, which should be root"


def below_another_user(run: Path, _precious: Path) -> str:
    """Let the directory above be another user's."""
    run.mkdir(mode=0o700)
    os.chown(run.parent, OTHER_USER, OTHER_USER)
    return f"{run.parent}, which leads to {run}, belongs to user 65534, who could put another directory there"


def link_of_another_user(run: Path, precious: Path) -> str:
    """Let a link of another user's lead to the directory."""
    run.parent.rmdir()
    run.parent.symlink_to(precious.parent)
    os.chown(run.parent, OTHER_USER, OTHER_USER, follow_symlinks=False)
    return f"{run.parent}, which leads to {run}, belongs to user 65534"


def file_of_another_user(run: Path, _precious: Path) -> str:
    """Let another user have written the files while the directory was open."""
    run.mkdir(mode=0o700)
    for name in ("agent.lock", "state.json"):
        (run / name).write_text('{"a": 2}')
        os.chown(run / name, OTHER_USER, OTHER_USER)
    return f"{run}/[a-z.]+ belongs to user 65534: it is not the agent's; remove it"


def file_for_all(run: Path, _precious: Path) -> str:
    """Let every user write to the files."""
    run.mkdir(mode=0o700)
    for name in ("agent.lock", "state.json"):
        (run / name).write_text('{"a": 2}')
        (run / name).chmod(0o666)
    return rf"{run}/[a-z.]+ can be written by others \(mode 0666\): it is not the agent's; remove it"


def claim(run: Path) -> None:
    """Lock a run directory."""
    HostLock().claim(run, str(run))


Attack = Callable[[Path, Path], str]

ATTACKS = [
    linked_directory,
    linked_file,
    hard_linked_file,
    open_to_all,
    open_above,
    file_for_all,
    *(
        pytest.param(attack, marks=as_root, id=attack.__name__)
        for attack in (of_another_user, below_another_user, link_of_another_user, file_of_another_user)
    ),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Where the run directory is to be, in a directory that can be spoiled."""
    (tmp_path / "above").mkdir()
    return tmp_path / "above" / "run"


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_agent_refuses_to_start(attack: Attack, run: Path, precious: Path) -> None:
    """Lock and socket, which come first, say what is wrong and what to do; --check says it too."""
    words = attack(run, precious)

    for use in (claim, lambda path: Listener(path, print, bool, bool).open(), lambda path: OwnDirectory(path).check()):
        with pytest.raises(ConfigurationError, match=rf"option \[kongming_agent\] run_directory: {words}"):
            use(run)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_believed(attack: Attack, run: Path, precious: Path) -> None:
    """A state file there is no state, and reading it says why."""
    words = attack(run, precious)
    path = run / ("shadow" if attack is linked_directory else "state.json")

    assert "nothing" == load_state(path, str, "nothing")
    if path.exists():
        with pytest.raises(ConfigurationError, match=words):
            read_state(path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_written_elsewhere(attack: Attack, run: Path, precious: Path) -> None:
    """A state file is written to the directory itself or not at all."""
    attack(run, precious)

    def outcome() -> object:
        try:
            write_state(run / "state.json", {"a": 3})
        except OSError as error:
            return "[kongming_agent] run_directory" in str(error)
        return read_state(run / "state.json")

    assert outcome() in (True, {"a": 3})


def test_open_to_readers(run: Path) -> None:
    """A directory that others may only read, as one that a container was given, is closed to them."""
    run.mkdir(mode=0o755)

    OwnDirectory(run).prepare()

    assert 0o700 == run.stat().st_mode & 0o777


def test_not_the_agents_own(run: Path) -> None:
    """A directory of the system's is not closed to the system."""
    run.mkdir(mode=0o755)
    (run / "dbus").mkdir()

    with pytest.raises(ConfigurationError, match=f"{run} holds what is not the agent's, and is open to others"):
        OwnDirectory(run).prepare()

    assert 0o755 == run.stat().st_mode & 0o777


def test_links_of_root(run: Path) -> None:
    """A link that root has made may lead there, as /var/run does, from a link to a link and by a path that goes up."""
    (run.parent / "real").mkdir()
    (run.parent / "second").symlink_to("real")
    (run.parent / "first").symlink_to("../above/second")

    claim(run.parent / "first" / "run")

    assert (run.parent / "real" / "run" / "agent.lock").is_file()


def test_links_without_end(run: Path) -> None:
    """A link that leads to itself is an error of the system's, and is not followed without end."""
    (run.parent / "round").symlink_to("round")

    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        OwnDirectory(run.parent / "round" / "run").check()


def test_a_pipe_is_no_file(run: Path) -> None:
    """A named pipe, which would have no end, is refused at once."""
    run.mkdir(mode=0o700)
    os.mkfifo(run / "state.json", 0o600)

    with pytest.raises(ConfigurationError, match=r"state\.json is not a regular file; remove it"):
        read_state(run / "state.json")


def test_a_file_without_end(run: Path) -> None:
    """No more of a file is read than could be the agent's."""
    run.mkdir(mode=0o700)
    with (run / "state.json").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(ValueError, match="it has more than 67108864 bytes"):
        read_state(run / "state.json")


def test_brackets_without_end(run: Path) -> None:
    """JSON that is too deep for Python is nothing."""
    write_state(run / "state.json", 0)
    (run / "state.json").write_text("[" * 200_000)

    assert "nothing" == load_state(run / "state.json", str, "nothing")


def test_files_are_the_owners(run: Path) -> None:
    """What is written is for its owner alone, whatever the umask, and so is the socket from its beginning."""
    before = os.umask(0)
    try:
        write_state(run / "state.json", {})
        claim(run)
        listener = Listener(run, print, bool, bool)
        listener.open()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in run.iterdir()}
    listener.close()

    assert {"state.json": 0o600, "agent.lock": 0o600, "agent.sock": 0o600} == modes


def test_the_draft_of_a_killed_agent(run: Path) -> None:
    """What was left half written is replaced."""
    write_state(run / "state.json", 1)
    (run / "state.new").write_text("{")

    write_state(run / "state.json", 2)

    assert (2, ["state.json"]) == (read_state(run / "state.json"), [path.name for path in run.iterdir()])


def test_the_socket_is_not_what_a_link_points_to(run: Path) -> None:
    """Closing leaves what has taken the place of the socket's file; listening anew replaces a link and nothing else."""
    listener = Listener(run, print, bool, bool)
    listener.open()
    other = run.parent / "other.sock"
    with socket.socket(socket.AF_UNIX) as kept:
        kept.bind(str(other))
        (run / "agent.sock").unlink()
        os.link(other, run / "agent.sock")
        before = listener.is_in_place()
        listener.close()
        left = (run / "agent.sock").exists()
        listener.open()
        after = listener.is_in_place()
        listener.close()

    assert (False, True, True) == (before, left, after)
    assert (True, False) == (other.exists(), (run / "agent.sock").exists())

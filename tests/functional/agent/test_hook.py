# SPDX-License-Identifier: Apache-2.0
"""The hook as libvirt runs it, installed by its command, and the agent's end of the socket.

Nothing here depends on how fast the machine is: who is to be answered has as much time as it takes, and where a time
has to be over the test ends it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.ipc import client, qemu_hook
from kongming_sched.agent.ipc import listener as listener_module
from kongming_sched.agent.ipc.hook_file import HookFile
from kongming_sched.agent.ipc.listener import MAX_ORDERS, Listener
from tests.unit.agent.ipc.test_qemu_hook import ANSWER, OTHERS, OURS, PINS, edited

HOST = [sys.executable, "-c", "import sys; from kongming_sched.agent.commands.app import main; sys.exit(main())"]
GUEST = OURS[0].read_bytes()
WITHOUT_PINS = qemu_hook.without_pins(GUEST)


LONG_SECONDS = 600.0
"""How long a test may hang before it fails."""


@pytest.fixture(autouse=True)
def patient_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's end that gives hooks as long as they need."""
    monkeypatch.setattr(listener_module, "PATIENCE_SECONDS", LONG_SECONDS)


@pytest.fixture
def installed(tmp_path: Path) -> HookFile:
    """The hook in a directory, for an agent whose run directory is ``run``, with as much time as it needs."""
    file = HookFile(tmp_path / "hooks", tmp_path / "run" / "agent.sock")
    file.install()
    give(file, LONG_SECONDS)
    return file


def give(file: HookFile, patience_seconds: float) -> None:
    """Let an installed hook have another time than a second."""
    text = re.sub(r"(?m)^PATIENCE_SECONDS = [0-9.]+$", f"PATIENCE_SECONDS = {patience_seconds}", file.path.read_text())
    file.path.write_text(text)


def command(file: HookFile, *words: str) -> list[str | Path]:
    """How libvirt calls the hook."""
    return [file.path, "instance-1", *(words or ("migrate", "begin")), "-"]


def run(file: HookFile, xml: bytes, *words: str) -> tuple[int, bytes]:
    """Call the hook as libvirt does; gives the exit code and the output."""
    done = subprocess.run(
        command(file, *words), input=xml, capture_output=True, timeout=LONG_SECONDS, check=False, env={"PATH": "/bin"}
    )
    return done.returncode, done.stdout


class Loop:
    """What the agent does with questions: it takes them whenever it is woken, and answers.

    :ivar asked: the XML of each
    :ivar works: what it says each time when it is asked whether it works
    :ivar starts: what it says each time when it is asked to clear the CPUs of a guest that starts
    :ivar is_busy: whether it takes no questions for guests that start
    :ivar wakes: how often it was woken
    """

    def __init__(self, directory: Path, answer: object = ANSWER, works: Sequence[bool] = ()) -> None:
        self.asked: list[str] = []
        self.works = list(works)
        self.wakes = threading.Semaphore(0)
        self.starts: list[object] = []
        self.is_busy = False
        self.listener = Listener(directory, self._answer, lambda: self.works.pop(0), lambda _xml: not self.starts)
        self._answer_with = answer

    def __enter__(self) -> Loop:
        self.listener.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _answer(self) -> None:
        self.wakes.release()
        for question in self.listener.take():
            self.asked.append(question.xml)
            question.answer(self._answer_with)  # type: ignore[arg-type]
        for question in () if self.is_busy else self.listener.take_starts():
            self.asked.append(question.xml)
            question.answer(self.starts.pop(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", ["migrate", "restore"])
def test_answered(installed: HookFile, tmp_path: Path, operation: str) -> None:
    """The agent is asked with the very XML, and its pins are in what libvirt gets."""
    with Loop(tmp_path / "run") as loop:
        code, output = run(installed, GUEST, operation, "begin")

    assert (0, edited(GUEST, PINS)) == (code, output)
    assert [GUEST.decode()] == loop.asked


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_every_shape(installed: HookFile, tmp_path: Path, path: Path) -> None:
    """A guest of any shape gets the pins, from a file that needs no package."""
    with Loop(tmp_path / "run"):
        code, output = run(installed, path.read_bytes())

    assert (0, edited(path.read_bytes(), PINS)) == (code, output)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_guest_without_a_template(installed: HookFile, tmp_path: Path, path: Path) -> None:
    """Nothing is printed, so that the XML stays; the agent is asked of those that are pinned, but not by Nova."""
    xml = path.read_bytes()
    with Loop(tmp_path / "run", None) as loop:
        code, output = run(installed, xml)

    is_asked = b"<vcpupin" in xml and b"<memnode" not in xml
    assert (0, b"", [xml.decode()] if is_asked else []) == (code, output, loop.asked)


def test_guest_of_a_class(installed: HookFile, tmp_path: Path) -> None:
    """A guest that has a template by its class alone gets what the agent says in place of its pins."""
    xml = GUEST.replace(b"kongming:template", b"hw:unused")
    with Loop(tmp_path / "run"):
        code, output = run(installed, xml)

    assert (0, edited(xml, PINS)) == (code, output)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_guest_without_a_template_and_no_agent(installed: HookFile, path: Path) -> None:
    """It comes as it is, for its pins may be those of its operator."""
    assert (0, b"") == run(installed, path.read_bytes())


def test_no_agent(installed: HookFile) -> None:
    """Without an agent the pins are taken out, at once."""
    code, output = run(installed, GUEST)

    assert (0, WITHOUT_PINS) == (code, output)


def test_agent_that_cannot_say(installed: HookFile, tmp_path: Path) -> None:
    """An agent that has no answer ends the wait at once."""
    with Loop(tmp_path / "run", None):
        code, output = run(installed, GUEST)

    assert (0, WITHOUT_PINS) == (code, output)


def trickle(end: socket.socket) -> None:
    """An answer that never ends, a byte at a time."""
    for _ in range(100):
        end.send(b" ")


@pytest.mark.parametrize(
    "behave", [pytest.param(lambda _: None, id="silent"), pytest.param(trickle, id="byte by byte")]
)
def test_agent_that_is_too_slow(installed: HookFile, tmp_path: Path, behave: Callable[[socket.socket], object]) -> None:
    """When the time is over before the agent has answered the hook does without."""
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(installed.socket))
        listening.listen()
        with subprocess.Popen(command(installed), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(GUEST)
            process.stdin.close()
            connection, _ = listening.accept()
            with connection:
                asked = b"".join(iter(lambda: connection.recv(65536), b""))
                behave(connection)
                process.send_signal(signal.SIGALRM)  # as its own timer does
                output = process.stdout.read()

    assert (0, WITHOUT_PINS) == (process.returncode, output)
    assert qemu_hook.GREETING + GUEST == asked


def test_nonsense_at_the_socket(installed: HookFile, tmp_path: Path) -> None:
    """What is no answer is no answer, however it is nested."""
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(installed.socket))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"[" * 100_000)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        code, output = run(installed, GUEST)
        thread.join()

    assert (0, WITHOUT_PINS) == (code, output)


def test_input_that_does_not_end(installed: HookFile) -> None:
    """A guest's XML that does not come whole in time stays as it is."""
    give(installed, 0.1)
    with subprocess.Popen(command(installed), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(GUEST[:900])
        process.stdin.flush()
        output = process.stdout.read()
        code = process.wait(LONG_SECONDS)

    assert (0, b"") == (code, output)


# A guest that starts


def wait_for_agent(file: HookFile, seconds: float, answer_seconds: float = LONG_SECONDS) -> None:
    """Let an installed hook wait so long for an agent before a guest starts, and so long for each of its answers."""
    text = file.path.read_text()
    for name, value in (("START_PATIENCE_SECONDS", seconds), ("TRY_SECONDS", answer_seconds)):
        text = re.sub(rf"(?m)^({name}) = [0-9.]+$", rf"\1 = {value}", text)
    file.path.write_text(text)


def test_start_with_an_agent(installed: HookFile, tmp_path: Path) -> None:
    """A guest of a template starts where an agent works, and that is not asked for its pins."""
    with Loop(tmp_path / "run", works=[True]) as loop:
        code, output = run(installed, GUEST, "start", "begin")

    assert (0, b"", [], []) == (code, output, loop.asked, loop.works)


def test_start_while_the_agent_starts(installed: HookFile, tmp_path: Path) -> None:
    """An agent that does not see its host yet is waited for, and asked again until it does."""
    wait_for_agent(installed, LONG_SECONDS)

    with Loop(tmp_path / "run", works=[False, False, True]) as loop:
        code, output = run(installed, GUEST, "start", "begin")

    assert (0, b"", []) == (code, output, loop.works)


def test_start_while_the_agent_is_away(installed: HookFile, tmp_path: Path) -> None:
    """An agent that is being restarted is waited for."""
    wait_for_agent(installed, LONG_SECONDS)
    with subprocess.Popen(command(installed, "start", "begin"), stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(GUEST)
        process.stdin.close()
        with Loop(tmp_path / "run", works=[True]):
            code = process.wait(LONG_SECONDS)

    assert 0 == code


def refused(file: HookFile, answer_seconds: float = LONG_SECONDS) -> str:
    """What the hook says when it does not let a guest start, after one question to the agent."""
    wait_for_agent(file, 0.0, answer_seconds)
    done = subprocess.run(
        command(file, "start", "begin"), input=GUEST, capture_output=True, timeout=LONG_SECONDS, check=False
    )
    assert (1, b"") == (done.returncode, done.stdout)
    return done.stderr.decode()


def test_start_without_an_agent(installed: HookFile) -> None:
    """A guest of a template does not start, and libvirt reports why and what to do."""
    socket_path = installed.socket

    assert (
        "kongming-qemu-hook: instance-1 has a template, and nothing would pin it: the agent at"
        f" {socket_path} does not answer ([Errno 2] No such file or directory). Start kongming-agent, or set"
        " [kongming_agent] refuse_starts_without_agent = false and run 'kongming-host hook install'\n"
    ) == refused(installed)


def test_start_with_an_agent_that_was_killed(installed: HookFile) -> None:
    """The socket that a killed agent has left behind is no agent."""
    installed.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(installed.socket))

    assert "Connection refused" in refused(installed)


def test_start_with_an_agent_that_hangs(installed: HookFile) -> None:
    """A process that does not take its connections, as one that is stopped, is no agent."""
    installed.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(installed.socket))
        listening.listen()

        reason = refused(installed, answer_seconds=0.1)

    assert "timed out" in reason


def test_start_with_an_agent_that_does_not_see_its_host(installed: HookFile, tmp_path: Path) -> None:
    """An agent whose passes fail, or take too long, would not pin the guest."""
    with Loop(tmp_path / "run", works=[False]):
        reason = refused(installed)

    assert "does not see this host" in reason


@pytest.mark.parametrize("is_pinned", [False, True])
def test_start_with_an_agent_of_an_older_release(installed: HookFile, is_pinned: bool) -> None:
    """One that hangs up because it does not know the question runs, and clears no CPUs."""
    wait_for_agent(installed, 0.0)
    xml = GUEST if is_pinned else WITHOUT_PINS
    installed.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(installed.socket))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        code, _ = run(installed, xml, "start", "begin")
        thread.join()

    assert is_pinned == bool(code)


def test_start_on_cpus_that_are_cleared(installed: HookFile, tmp_path: Path) -> None:
    """The agent is asked with the very XML, and again while what is in the way may go soon."""
    wait_for_agent(installed, 15.0)
    not_yet = {"running": True, "clear": False, "retry": True, "reason": "server web migrates"}
    with Loop(tmp_path / "run", works=[True] * 2) as loop:
        loop.starts = [not_yet, {"running": True, "clear": True}]
        code, output = run(installed, GUEST, "start", "begin")

    assert (0, b"") == (code, output)
    assert [GUEST.decode()] * 2 == loop.asked


@pytest.mark.parametrize("option", [True, False])
def test_start_on_cpus_of_others(installed: HookFile, tmp_path: Path, option: bool) -> None:
    """The guest does not start, whatever the option says, for the agent works; libvirt reports which server and CPU."""
    HookFile(installed.path.parents[1], installed.socket, refuses_starts=option).install()
    reason = "CPU 4 is in use by server web, for which there is no other room"
    with Loop(tmp_path / "run", works=[True]) as loop:
        loop.starts = [{"running": True, "clear": False, "retry": False, "reason": reason}]
        done = refused(installed)

    assert f"kongming-qemu-hook: instance-1 does not start here: {reason}\n" == done


def test_start_while_a_pass_takes_long(installed: HookFile, tmp_path: Path) -> None:
    """The hook is answered before its time is over, and the question is not put before the loop any more."""
    with Loop(tmp_path / "run", works=[True]) as loop:
        loop.starts, loop.is_busy = ["never"], True
        reason = refused(installed, answer_seconds=2.0)
        left = loop.listener.take_starts()

    assert "does not start here: the agent is busy with something that takes long" in reason
    assert [] == left


def test_start_without_pins(installed: HookFile, tmp_path: Path) -> None:
    """Such a guest needs no CPUs cleared, and the loop hears nothing of it."""
    with Loop(tmp_path / "run", works=[True]) as loop:
        loop.starts = ["never"]
        code, _ = run(installed, WITHOUT_PINS, "start", "begin")

    assert (0, []) == (code, loop.asked)


@pytest.mark.parametrize(
    "xml",
    [
        *(pytest.param(path.read_bytes(), id=path.stem) for path in OTHERS[:3]),
        pytest.param(b"", id="nothing"),
        pytest.param(GUEST[:900], id="cut"),
    ],
)
def test_start_of_others(installed: HookFile, xml: bytes) -> None:
    """A guest without a template starts without an agent, and so does what cannot be read."""
    assert (0, b"") == run(installed, xml, "start", "begin")


def test_start_of_a_guest_that_is_not_described(installed: HookFile) -> None:
    """libvirt that does not hand the XML over whole in time is not waited for."""
    give(installed, 0.1)
    with subprocess.Popen(command(installed, "start", "begin"), stdin=subprocess.PIPE) as process:
        code = process.wait(LONG_SECONDS)

    assert 0 == code


def test_starts_are_not_refused(installed: HookFile) -> None:
    """The option lets guests start without an agent, and a hook that says otherwise is outdated."""
    file = HookFile(installed.path.parents[1], installed.socket, refuses_starts=False)
    before = file.state()
    file.install()

    assert "outdated" == before
    assert (0, b"") == run(file, GUEST, "start", "begin")


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "begin"),
        ("start", "end"),
        ("started", "begin"),
        ("stopped", "end"),
        ("release", "end"),
        ("reconnect", "begin"),
        ("migrate", "end"),
        (),
    ],
)
def test_other_operations(installed: HookFile, words: tuple[str, ...]) -> None:
    """Any other operation ends without output, also if nobody writes or closes its input."""
    words_of_all = command(installed, *words) if words else [installed.path]
    with subprocess.Popen(words_of_all, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        code = process.wait(LONG_SECONDS)
        assert process.stdout
        output = process.stdout.read()

    assert (0, b"") == (code, output)


BOMB = b'<!DOCTYPE d [<!ENTITY a0 "ha">%s]>' % b"".join(
    b'<!ENTITY a%d "%s">' % (number, b"&a%d;" % (number - 1) * 10) for number in range(1, 20)
)


@pytest.mark.parametrize(
    "xml",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GUEST[:900], id="cut"),
        pytest.param(GUEST.replace(b"</cputune>", b"</cputone>"), id="broken"),
        pytest.param(GUEST.replace(b"<vcpupin", b"<vcpupin\xff"), id="not UTF-8"),
        pytest.param(GUEST.decode().encode("utf-16")[:-1], id="not UTF-16"),
        pytest.param(b"\0" * 1000, id="zeros"),
        pytest.param(b"<a>" * 1_000_000, id="deep"),
        pytest.param(b"<domain" + b" a='b'" * 500_000 + b"/>", id="attributes"),
        pytest.param(BOMB + GUEST.replace(b"<iothreads>", b"<iothreads>&a19;"), id="entity bomb"),
        pytest.param(b'<!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + GUEST, id="entity of a file"),
    ],
)
def test_doubt(installed: HookFile, tmp_path: Path, xml: bytes) -> None:
    """What cannot be understood stays as it is: no output, exit code 0, nobody asked, nothing expanded."""
    with Loop(tmp_path / "run") as loop:
        code, output = run(installed, xml)

    assert (0, b"", []) == (code, output, loop.asked)


def test_huge(installed: HookFile) -> None:
    """An endless XML is read to its end, so that libvirt can write it, and kept in no memory."""
    limited = [  # 150 MB of address space
        "/bin/sh",
        "-c",
        f"ulimit -v 150000; head -c 300000000 /dev/zero | exec {installed.path} instance-1 migrate begin -",
    ]

    done = subprocess.run(limited, capture_output=True, timeout=LONG_SECONDS, check=False)

    assert (0, b"") == (done.returncode, done.stdout)
    assert b"stays as it is" in done.stderr


def test_output_that_nobody_reads(installed: HookFile) -> None:
    """libvirt going away in the middle is no failure."""
    with subprocess.Popen(
        [installed.path, "x", "migrate", "begin", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        process.stdout.close()
        process.stdin.write(GUEST)
        process.stdin.close()
        code = process.wait(LONG_SECONDS)

    assert 0 == code


# The agent's end


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """An agent that answers."""
    with Loop(tmp_path / "run") as loop:
        yield loop


def talk(listener: Listener, *parts: bytes, finish: bool = True) -> bytes:
    """Say something to the agent; gives what it says before it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LONG_SECONDS)
        connection.connect(str(listener.path))
        try:
            for part in parts:
                connection.sendall(part)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_nobody_else_may_enter(loop: Loop) -> None:
    """The socket is its owner's alone, in a directory that is its owner's alone."""
    path = loop.listener.path

    assert (0o600, 0o700) == (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_somebody_else_has_no_answer() -> None:
    """Another user is not answered, even if the permissions were opened."""
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "try:\n"
        "    s.sendall(b'kongming-arrival 1\\n<domain/>')\n"
        "    s.shutdown(1)\n"
        "    print('answer', s.recv(100))\n"
        "except (BrokenPipeError, ConnectionResetError):\n"
        "    print('answer', b'')\n"
    )

    with tempfile.TemporaryDirectory() as directory, Loop(Path(directory)) as loop:
        Path(directory).chmod(0o755)
        loop.listener.path.chmod(0o666)
        script_on_path: list[str | Path] = ["/usr/bin/python3", "-c", script, loop.listener.path]
        done = subprocess.run(script_on_path, user=65534, capture_output=True, text=True, check=False)

    assert ("answer b''\n", "") == (done.stdout, done.stderr)
    assert [] == loop.asked


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((b"",), id="nothing"),
        pytest.param((b"GET / HTTP/1.1\r\n\r\n",), id="another protocol"),
        pytest.param((b"kongming-arrival 2\n<domain/>",), id="another release"),
        pytest.param((qemu_hook.GREETING + b"\xff",), id="not text"),
        pytest.param((qemu_hook.GREETING, *[b"x" * (1 << 20)] * 5), id="too long"),
    ],
)
def test_what_no_hook_says(loop: Loop, parts: tuple[bytes, ...]) -> None:
    """It gets no answer, and nobody is bothered with it."""
    assert b"" == talk(loop.listener, *parts)
    assert [] == loop.asked


def test_one_that_does_not_finish(loop: Loop) -> None:
    """While one has not said everything others are answered."""
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(loop.listener.path))
        slow.sendall(qemu_hook.GREETING)

        answer = talk(loop.listener, qemu_hook.GREETING, b"<domain/>")

        assert answer.startswith(b'{"vcpupin"')
        assert ["<domain/>"] == loop.asked


def test_one_that_never_finishes(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent hangs up on what does not come whole in time."""
    monkeypatch.setattr(listener_module, "PATIENCE_SECONDS", 0.01)

    assert b"" == talk(loop.listener, qemu_hook.GREETING, finish=False)
    assert [] == loop.asked


def test_many_at_once(loop: Loop) -> None:
    """More hooks than connections are allowed at a time are all answered."""
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(talk(loop.listener, qemu_hook.GREETING, b"<domain/>")))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 40 == len(answers)
    assert all(answer.startswith(b'{"vcpupin"') for answer in answers)


def test_orders_leave_room_for_hooks(loop: Loop) -> None:
    """However many orders are under way, a hook is answered before them; one order too many is refused."""
    order = client.GREETING + b'{"order": "rebalance"}'
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_ORDERS):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(str(loop.listener.path))
            waiting.sendall(order)
            waiting.shutdown(socket.SHUT_WR)
            assert loop.wakes.acquire(timeout=LONG_SECONDS)
        answer = talk(loop.listener, qemu_hook.GREETING, b"<domain/>")
        refusal = talk(loop.listener, order)

    assert answer.startswith(b'{"vcpupin"')
    assert b'{"error": "16 orders wait for the agent already; try again later"}' == refusal


def test_second_agent(loop: Loop) -> None:
    """A second agent in the same directory is refused, and the first goes on."""
    with pytest.raises(exceptions.ConfigurationError, match="another agent listens"):
        Listener(loop.listener.path.parent, lambda: None, lambda: True, lambda _xml: True).open()

    assert talk(loop.listener, qemu_hook.GREETING, b"<domain/>")


def test_socket_of_a_killed_agent(tmp_path: Path) -> None:
    """A socket that was left behind is replaced."""
    (tmp_path / "run").mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "run" / "agent.sock"))

    with Loop(tmp_path / "run") as loop:
        assert talk(loop.listener, qemu_hook.GREETING, b"<domain/>")
        assert 0o700 == stat.S_IMODE((tmp_path / "run").stat().st_mode)
    assert not (tmp_path / "run" / "agent.sock").exists()


def test_directory_that_cannot_be(tmp_path: Path) -> None:
    """A run directory that cannot be made is a configuration error."""
    (tmp_path / "file").touch()

    with pytest.raises(exceptions.ConfigurationError, match="run_directory"):
        Listener(tmp_path / "file" / "run", lambda: None, lambda: True, lambda _xml: True).open()


def test_closed_while_a_hook_waits(tmp_path: Path) -> None:
    """An agent that stops sends waiting hooks home."""
    asked = threading.Event()
    listener = Listener(tmp_path / "run", asked.set, lambda: True, lambda _xml: True)
    listener.open()

    def close() -> None:
        asked.wait(LONG_SECONDS)
        listener.close()

    closing = threading.Thread(target=close)
    closing.start()

    assert b"" == talk(listener, qemu_hook.GREETING, b"<domain/>")
    closing.join()


# The command


def host(tmp_path: Path, *words: str, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run kongming-host hook."""
    (tmp_path / "agent.conf").write_text(f"[kongming_agent]\nrun_directory = {tmp_path}/run\n{options}\n")
    words_of_all: list[str | Path] = [
        *HOST,
        "hook",
        *words,
        "--directory",
        tmp_path / "hooks",
        "--config-file",
        tmp_path / "agent.conf",
    ]
    return subprocess.run(words_of_all, capture_output=True, text=True, timeout=LONG_SECONDS, check=False)


def test_command(tmp_path: Path) -> None:
    """Install, show and remove say what they do, and doing it twice is no mistake."""
    path = tmp_path / "hooks" / "qemu.d" / "90-kongming"

    said = [host(tmp_path, word) for word in ("install", "install", "remove", "remove")]
    lines = [(result.returncode, result.stdout.strip(), result.stderr) for result in said]

    assert [
        (
            0,
            f"installed {path}; libvirt finds it once it has read its configuration again:"
            " systemctl reload libvirtd (or virtqemud)",
            "",
        ),
        (0, f"{path} is installed already", ""),
        (0, f"removed {path}", ""),
        (0, f"{path} is not installed", ""),
    ] == lines
    assert [] == list((tmp_path / "hooks").iterdir())


def test_option(tmp_path: Path) -> None:
    """The installed hook refuses starts as the agent's option says."""
    path = tmp_path / "hooks" / "qemu.d" / "90-kongming"
    found = []
    for options in ("", "refuse_starts_without_agent = false"):
        host(tmp_path, "install", options=options)
        found.append(re.findall("(?m)^REFUSE_STARTS = .*$", path.read_text()))

    assert [["REFUSE_STARTS = True"], ["REFUSE_STARTS = False"]] == found


def test_shown(tmp_path: Path) -> None:
    """The state is shown with the hooks that run beside it and whether the agent listens."""
    host(tmp_path, "install")
    (tmp_path / "hooks" / "qemu").write_text("#!/bin/sh\n")
    (tmp_path / "hooks" / "qemu").chmod(0o755)
    (tmp_path / "hooks" / "qemu.d" / "README").touch()

    with Loop(tmp_path / "run"):
        result = host(tmp_path, "show", "-f", "shell")
    deaf = host(tmp_path, "show", "-f", "value", "-c", "agent")

    assert [
        f'path="{tmp_path}/hooks/qemu.d/90-kongming"',
        'state="installed"',
        f'other_hooks="{tmp_path}/hooks/qemu"',
        f'socket="{tmp_path}/run/agent.sock"',
        'agent="listens"',
    ] == result.stdout.splitlines()
    assert "does not listen\n" == deaf.stdout


def test_operators_hooks_stay(tmp_path: Path) -> None:
    """Neither libvirt's main hook nor another file of the directory is touched."""
    mine = {tmp_path / "hooks" / "qemu": "main", tmp_path / "hooks" / "qemu.d" / "10-mine": "ten"}
    (tmp_path / "hooks" / "qemu.d").mkdir(parents=True)
    for path, text in mine.items():
        path.write_text(text)

    host(tmp_path, "install")
    host(tmp_path, "remove")

    assert mine == {path: path.read_text() for path in mine}
    assert 2 == len([path for path in (tmp_path / "hooks").rglob("*") if path.is_file()])


@pytest.mark.parametrize("word", ["install", "remove"])
def test_foreign_file_in_its_place(tmp_path: Path, word: str) -> None:
    """A file of that name that is another's stays, and the error says so."""
    path = tmp_path / "hooks" / "qemu.d" / "90-kongming"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")

    result = host(tmp_path, word)

    assert 1 == result.returncode
    assert f"{path} is not KongMing's" in result.stderr
    assert "#!/bin/sh\n" == path.read_text()


def test_outdated(installed: HookFile) -> None:
    """A hook of another release, or of another socket, is replaced."""
    installed.install()
    text = installed.path.read_text()
    installed.path.write_text(text + "# old\n")
    before = installed.state()

    changed = installed.install()

    assert ("outdated", True, text) == (before, changed, installed.path.read_text())
    assert "outdated" == HookFile(installed.path.parents[1], Path("/elsewhere")).state()

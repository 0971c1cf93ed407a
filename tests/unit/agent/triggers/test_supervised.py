# SPDX-License-Identifier: Apache-2.0
"""Threads that fail: that is a problem, and their work is begun again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.triggers import supervised
from kongming_sched.agent.triggers.base import TriggerContext
from kongming_sched.agent.triggers.metadata_poller import MetadataPoller
from kongming_sched.agent.triggers.notifications import NotificationTrigger
from kongming_sched.agent.triggers.nova import NovaClient
from kongming_sched.agent.triggers.supervised import SupervisedThread
from kongming_sched.conf import agent as agent_conf
from testbed.adapters import Answer, Canned

SERVER = "5e00e000-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is begun again at once."""
    monkeypatch.setattr(supervised, "FIRST_SECONDS", 0.01)


def work_of(*steps: Callable[[], None]) -> tuple[Callable[[], None], queue.Queue[int]]:
    """Work that takes these steps, one each time that it is begun; and the numbers of the steps that it took."""
    rest: Iterator[tuple[int, Callable[[], None]]] = iter(enumerate(steps))
    taken: queue.Queue[int] = queue.Queue()

    def work() -> None:
        number, step = next(rest)
        taken.put(number)
        step()

    return work, taken


def fail() -> None:
    raise RuntimeError("unforeseen")


def test_work_that_fails_is_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its origin, each failure starts a pass, and work that returns is not begun again."""
    reports: list[str] = []
    work, taken = work_of(fail, fail, lambda: thread.is_well())
    thread = SupervisedThread("touch", work, lambda: reports.append(thread.problem))
    thread.start()
    assert [0, 1, 2] == [taken.get(timeout=30) for _ in range(3)]
    thread.stop()
    problem = "its thread failed and is started again after a while, see the log: RuntimeError('unforeseen')"
    assert [problem, problem] == reports
    assert "" == thread.problem
    assert ["thread touch failed; its work is begun again in 0.01 s", "thread touch failed; its work is begun again in"
            " 0.02 s"] == [record.getMessage() for record in caplog.records]  # fmt: skip
    assert all(record.exc_info for record in caplog.records)


def test_a_thread_that_is_stopped_is_not_begun_again() -> None:
    """Not in the pause after a failure, either."""
    before = set(threading.enumerate())
    failed = threading.Event()
    thread = SupervisedThread("touch", fail, failed.set)
    thread.start()
    assert failed.wait(30)
    thread.stop()
    assert set() == set(threading.enumerate()) - before


class Unforeseen(NovaClient):
    """Nova's API, whose client has a fault that nobody knew of."""

    def __init__(self) -> None:
        super().__init__(Canned(Answer(200, '{"server": {"metadata": {"kongming:cpus": "5"}}}')))
        self.fails = threading.Event()
        self.fails.set()

    def metadata(self, server: str) -> dict[str, str] | None:
        if self.fails.is_set():
            raise RuntimeError("unforeseen")
        return super().metadata(server)


def test_the_metadata_poller_fails_in_a_way_that_nobody_foresaw() -> None:
    """It is a problem of Nova's, its servers are asked for again, and then the problem is gone."""
    metadata, nova, woken = Metadata(), Unforeseen(), threading.Semaphore(0)
    poller = MetadataPoller(nova, "host", metadata, woken.release, 0)
    poller.start()
    poller.watch([SERVER])
    assert woken.acquire(timeout=30)
    failing = poller.problems
    nova.fails.clear()
    while not metadata.requests():
        assert woken.acquire(timeout=30)
    healed = poller.problems
    poller.stop()
    text = (
        "Nova is not asked for servers' metadata: its thread failed and is started again after a while, see the log:"
        " RuntimeError('unforeseen')"
    )
    assert (Problem(Reason.TRIGGER, Subject(SubjectKind.NOVA), text),) == failing
    assert () == healed


def test_a_listener_fails_in_a_way_that_nobody_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a problem of the trigger, which goes on trying to listen."""
    (tmp_path / "agent.conf").write_text("[DEFAULT]\ntransport_url = fake:/\n")
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], default_config_files=[str(tmp_path / "agent.conf")])
    woken = threading.Semaphore(0)
    trigger = NotificationTrigger(TriggerContext(conf, "host", woken.release))
    monkeypatch.setattr(trigger, "_is_reachable", fail)
    trigger.start()
    try:
        assert woken.acquire(timeout=30)
        assert trigger.problem.endswith("RuntimeError('unforeseen')")
        monkeypatch.undo()
        for _ in range(600):
            if not trigger.problem:
                break
            threading.Event().wait(0.05)
        assert "" == trigger.problem
    finally:
        trigger.stop()

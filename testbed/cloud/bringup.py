# SPDX-License-Identifier: Apache-2.0
"""Brings the parts of a cloud up in their order, as many at once as the machine can bear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from testbed.cloud.processes import Process, end, find_owned, kill
from testbed.cloud.service import Daemon, Part, Service, Task
from testbed.lab.process import LabError

AT_ONCE = 5
"""Most of a part's time is its start on one CPU, or waiting for another part."""


def next_parts(parts: Sequence[Part], done: set[str], begun: set[str]) -> list[Part]:
    """The parts whose turn it is, in their order."""
    return [part for part in parts if part.name not in begun and done.issuperset(part.after)]


def check_order(parts: Sequence[Part]) -> None:
    """Refuse parts that wait for what never comes.

    :raises LabError: naming the part
    """
    known: set[str] = set()
    for part in parts:
        if part.name in known:
            raise LabError(f"there are two parts {part.name}")
        if missing := set(part.after) - known:
            raise LabError(f"{part.name} comes before {', '.join(sorted(missing))}, which it needs")
        known.add(part.name)


class BringUp:
    """One attempt to have all parts stand.

    :param directory: the cloud's
    :param report: called with a line whenever a part stands that did not before
    """

    def __init__(self, directory: Path, report: Callable[[str], None]) -> None:
        self._directory = directory
        self._report = report
        self._interrupted = threading.Event()
        self._restarted: set[str] = set()
        self._before = {owned.process for owned in find_owned(directory)}

    def run(self, parts: Sequence[Part]) -> None:
        """Do what is not done and start what does not run. If that fails, what was started now is stopped.

        :raises LabError: if a part does not come up
        """
        check_order(parts)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                self._work_off(parts, pool)
            except BaseException:
                self._interrupted.set()
                end(self._started_now(), 5)
                raise
            finally:
                pool.shutdown(cancel_futures=True)
                if self._interrupted.is_set():
                    kill(self._started_now())  # what a part began after all others were ended

    def _work_off(self, parts: Sequence[Part], pool: ThreadPoolExecutor) -> None:
        done: set[str] = set()
        begun: dict[Future[None], str] = {}
        while len(done) < len(parts):
            for part in next_parts(parts, done, set(begun.values())):
                begun[pool.submit(self._stand, part)] = part.name
            waiting = [future for future, name in begun.items() if name not in done]
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                done.add(begun[future])

    def _stand(self, part: Part) -> None:
        before = time.monotonic()
        acted = self._do_once(part) if isinstance(part, Task) else self._keep_running(part)
        if acted:
            self._report(f"{part.name:<28} {time.monotonic() - before:6.1f} s")

    def _do_once(self, task: Task) -> bool:
        mark = self._directory / "done" / task.name
        if mark.exists():
            return False
        task.do()
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        return True

    def _keep_running(self, service: Service) -> bool:
        daemon = self.daemon(service.name, service)
        running = daemon.process
        if running and self._restarted.isdisjoint(service.bound_to):
            daemon.wait_for("an answer", lambda: service.is_ready() or None, service.patience_seconds)
            return False
        leftovers = [owned.process for owned in find_owned(self._directory) if owned.service == service.name]
        end(leftovers, 10)
        self._restarted.add(service.name)
        daemon.start()
        daemon.wait_for("an answer", lambda: service.is_ready() or None, service.patience_seconds)
        return True

    def daemon(self, name: str, service: Service) -> Daemon:
        """The program of a service."""
        return Daemon(name, service.command, self._directory, service.environment, self._interrupted)

    def _started_now(self) -> list[Process]:
        return [owned.process for owned in find_owned(self._directory) if owned.process not in self._before]

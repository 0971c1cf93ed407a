# SPDX-License-Identifier: Apache-2.0
"""Reports the agent's passes to Prometheus, systemd, and libvirt's hook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.model.outcome import Outcome, Pins
from kongming_sched.agent.model.problem import Problem
from kongming_sched.agent.settings import Settings
from kongming_sched.agent.telemetry.liveness import Liveness
from kongming_sched.agent.telemetry.metrics import Metrics
from kongming_sched.agent.telemetry.metrics_server import MetricsServer
from kongming_sched.agent.telemetry.systemd import Systemd
from kongming_sched.placement.transport import Adapter, Response

LOG = log.getLogger(__name__)


class Telemetry:
    """Follows the loop, pass by pass, and reports it.

    :ivar metrics: what Prometheus reads
    :ivar liveness: what libvirt's hook asks for
    :param clock: seconds since the machine's start
    """

    def __init__(self, systemd: Systemd, clock: Callable[[], float] = time.monotonic) -> None:
        self.metrics = Metrics()
        self.liveness = Liveness(clock)
        self._clock = clock
        self._systemd = systemd
        self._metrics_server = MetricsServer(self.metrics.registry)
        self._unseen_because = ""
        self._heard_at: float | None = None
        self._waiting_since: float | None = None
        self._began = 0.0
        self._status = ""

    def follow(self, adapter: Adapter) -> Adapter:
        """An adapter that counts the requests of the loop, and each of them that has ended as a step of its work."""
        return _Followed(self.metrics.count_requests(adapter), self.progress)

    def hear(self) -> None:
        """Something happened on the host; called from libvirt's thread."""
        if self._heard_at is None:
            self._heard_at = self._clock()

    def begin(self) -> None:
        """A pass begins, for all events so far and for those of a pass that failed before it."""
        heard, self._heard_at = self._heard_at, None
        if self._waiting_since is None:
            self._waiting_since = heard
        self._began = self._clock()
        self.liveness.begin()

    def end(self, outcome: Outcome) -> None:
        """The pass is over."""
        now = self._clock()
        waited = None if self._waiting_since is None else now - self._waiting_since
        self._waiting_since = None
        self.metrics.record(outcome, now - self._began, waited)
        self._status = "; ".join([*_pinned(outcome.pinning.pins), _status(outcome.problems)])

    def fail(self, problem: Problem) -> None:
        """The pass failed.

        :param problem: why
        """
        self.liveness.fail()
        self.metrics.record_failure(problem, self._clock() - self._began)
        self._status = _status((problem,))

    def reload(self) -> None:
        """The configuration is being read again."""
        self._systemd.reloading()

    def rest(self, settings: Settings, wake: threading.Event, seconds: float) -> None:
        """Report the state after a pass, and wait until it is time for the next."""
        self._expose(settings)
        self.liveness.rest()
        self._systemd.ready(self._status)
        self._systemd.rest(wake, seconds)

    def progress(self) -> None:
        """The loop has done a step of its work; called from its own thread alone."""
        self._systemd.progress()

    def close(self) -> None:
        """The agent ends."""
        self._systemd.stopping()
        self._metrics_server.close()

    def _expose(self, settings: Settings) -> None:
        """Serve the metrics. If that fails it is logged once, and the agent goes on: the guests are what matters."""
        why = ""
        try:
            self._metrics_server.open(settings.metrics_address, settings.metrics_port, settings.metrics_token_file)
        except exceptions.ConfigurationError as error:
            why = str(error)
        if why and why != self._unseen_because:
            LOG.error("%s", why)
        self._unseen_because = why


class _Followed:
    def __init__(self, adapter: Adapter, progress: Callable[[], None]) -> None:
        self._adapter = adapter
        self._progress = progress

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        try:
            return self._adapter.request(url, method, **kwargs)
        finally:
            self._progress()


def _pinned(pins: Pins | None) -> list[str]:
    if pins is None:
        return []
    wrong = {unit.guest for unit in pins.after if unit.current != unit.target}
    return [f"{len(pins.servers) - len(wrong)} of {len(pins.servers)} servers of templates are pinned"]


def _status(problems: Sequence[Problem]) -> str:
    if not problems:
        return "all is well"
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"

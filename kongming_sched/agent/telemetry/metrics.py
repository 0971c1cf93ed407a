# SPDX-License-Identifier: Apache-2.0
"""The agent's metrics for Prometheus.

Counters and histograms grow with each reconcile pass. What holds now (pins, pools, problems) is a snapshot of the last
pass that is replaced as a whole, so that a guest that has ended leaves nothing behind.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kongming_sched import version
from kongming_sched.agent.model.actions import Kind
from kongming_sched.agent.model.outcome import Basis, Outcome, Pins, PoolUse
from kongming_sched.agent.model.problem import Problem, Reason
from kongming_sched.placement.transport import Adapter, Response
from kongming_sched.texts.printable import clean, shorten

_MAX_NAME = 255
"""Characters of a server's name, by Nova; a domain that something else has defined may have any."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class _Now:
    """What holds since the last pass."""

    pins: Pins = field(default_factory=Pins)
    use: tuple[PoolUse, ...] = ()
    problems: Mapping[Reason, int] = field(default_factory=dict)
    without_template: int = 0
    by_template: Mapping[tuple[str, str], int] = field(default_factory=dict)


class _Snapshot(Collector):
    """Hands out what holds now.

    :ivar now: replaced by each pass
    """

    def __init__(self) -> None:
        self.now = _Now()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by every scrape, from its thread."""
        now = self.now
        yield from _pins(now.pins)
        yield from _pools(now.use)
        problems = GaugeMetricFamily(
            "kongming_problems",
            "What is wrong at the moment, by the kind of reason; the log says it.",
            labels=["reason"],
        )
        for reason in Reason:
            problems.add_metric([reason], now.problems.get(reason, 0))
        yield problems
        guests = GaugeMetricFamily(
            "kongming_guests",
            "Running guests by the template that they have and that of their flavor, which is empty if it names none.",
            labels=["template", "flavor_template"],
        )
        for names, number in now.by_template.items():
            guests.add_metric([shorten(clean(name), _MAX_NAME) for name in names], number)
        yield guests
        yield GaugeMetricFamily(
            "kongming_guests_without_template", "Running guests that no template pins.", now.without_template
        )


def _pins(pins: Pins) -> Iterator[GaugeMetricFamily]:
    labels = ["server", "name"]
    wanted = GaugeMetricFamily(
        "kongming_guest_pins_wanted",
        "Threads of a guest (vCPUs, emulator, I/O threads) that have their place.",
        None,
        labels,
    )
    actual = GaugeMetricFamily(
        "kongming_guest_pins_actual", "Threads of a guest that the kernel has where they should be.", None, labels
    )
    every = Tally(unit.guest for unit in pins.after)
    right = Tally(unit.guest for unit in pins.after if unit.current == unit.target)
    for server, called in pins.servers.items():
        name = shorten(clean(called), _MAX_NAME)  # the text format cannot write every character
        wanted.add_metric([server, name], every[server])
        actual.add_metric([server, name], right[server])
    yield wanted
    yield actual


def _pools(use: Sequence[PoolUse]) -> Iterator[GaugeMetricFamily]:
    labels = ["node", "pool"]
    used = GaugeMetricFamily(
        "kongming_node_cpus_used", "What servers have claimed: host CPUs (dedicated) or vCPUs (shared).", None, labels
    )
    free = GaugeMetricFamily(
        "kongming_node_cpus_free", "What is left to be claimed: host CPUs (dedicated) or vCPUs (shared).", None, labels
    )
    for pool in use:
        used.add_metric([str(pool.node_id), pool.pool], pool.used)
        free.add_metric([str(pool.node_id), pool.pool], pool.free)
    yield used
    yield free


def _by_template(bases: Iterable[Basis]) -> Mapping[tuple[str, str], int]:
    return Tally((basis.name, basis.flavor_template) for basis in bases)


class Metrics:
    """All metrics of the agent, in a registry of its own.

    :param clock: seconds since the epoch
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.registry = registry = CollectorRegistry()
        self._clock = clock
        self._snapshot = _Snapshot()
        self._problems: frozenset[Problem] = frozenset()
        registry.register(self._snapshot)
        ProcessCollector(registry=registry)
        self._latency = Histogram(
            "kongming_event_to_pin_seconds",
            "From libvirt's event to the end of the reconcile pass that pinned something for it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._pass_seconds = Histogram(
            "kongming_reconcile_pass_seconds",
            "How long the reconcile passes took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._passes = Counter(
            "kongming_reconcile_passes", "Reconcile passes, by their result.", ["result"], registry=registry
        )
        self._last_success = Gauge(
            "kongming_last_successful_pass_timestamp_seconds",
            "When a reconcile pass last found libvirt and Placement well.",
            registry=registry,
        )
        self._actions = Counter(
            "kongming_actions", "Changes to guests that hold, by kind.", ["kind"], registry=registry
        )
        self._failures = Counter(
            "kongming_failures", "Problems that came up, by the kind of reason.", ["reason"], registry=registry
        )
        self._found = Counter(
            "kongming_drift_found", "Threads that something other than the agent moved.", registry=registry
        )
        self._repaired = Counter(
            "kongming_drift_repaired", "Threads that are back where they belong.", registry=registry
        )
        self._requests = Counter(
            "kongming_placement_requests",
            "Requests to Placement, by method and HTTP status; status none: no answer.",
            ["method", "status"],
            registry=registry,
        )
        build = Gauge("kongming_build_info", "The version of the agent.", ["version"], registry=registry)
        build.labels(version.installed()).set(1)
        self._show_all_labels()

    def _show_all_labels(self) -> None:
        """Start everything that has few labels at 0: a rate needs a value to start from."""
        for result in ("success", "failure"):
            self._passes.labels(result)
        for kind in Kind:
            self._actions.labels(_label(kind))
        for reason in Reason:
            self._failures.labels(reason)

    def count_requests(self, adapter: Adapter) -> Adapter:
        """An adapter that counts the requests and passes them on to this one."""
        return _Counted(adapter, self._requests)

    def record(self, outcome: Outcome, seconds: float, waited: float | None) -> None:
        """Take in a reconcile pass.

        :param seconds: how long it took
        :param waited: how long ago the first event came that it was for; None if it was for none
        """
        is_fine = outcome.is_placement_well
        self._note_pass(is_fine, seconds)
        for _, action in outcome.pinning.done:
            self._actions.labels(_label(action.kind)).inc()
        self._found.inc(sum(drift.is_thread for drift in outcome.pinning.drift.found))
        self._repaired.inc(outcome.pinning.drift.repaired)
        if waited is not None and any(action.is_pin for _, action in outcome.pinning.done):
            self._latency.observe(waited)
        previous = self._snapshot.now
        self._snapshot.now = _Now(
            previous.pins if outcome.pinning.pins is None else outcome.pinning.pins,
            outcome.placement.use if is_fine else previous.use,
            self._note_problems(outcome.problems),
            outcome.unmanaged.count,
            previous.by_template if outcome.pinning.pins is None else _by_template(outcome.pinning.bases.values()),
        )

    def record_failure(self, problem: Problem, seconds: float) -> None:
        """Take in a pass that failed.

        :param problem: why
        :param seconds: how long it took
        """
        self._note_pass(False, seconds)
        tally = self._note_problems((problem,))
        now = self._snapshot.now
        self._snapshot.now = replace(now, problems=tally)

    def _note_pass(self, is_fine: bool, seconds: float) -> None:
        self._pass_seconds.observe(seconds)
        self._passes.labels("success" if is_fine else "failure").inc()
        if is_fine:
            self._last_success.set(self._clock())

    def _note_problems(self, problems: Iterable[Problem]) -> Mapping[Reason, int]:
        """Count those that were not there after the last pass, and give how many there are of each kind."""
        now = frozenset(problems)
        for problem in now - self._problems:
            self._failures.labels(problem.reason).inc()
        self._problems = now
        return Tally(problem.reason for problem in now)


class _Counted:
    """Passes requests on and counts them by their result."""

    def __init__(self, adapter: Adapter, requests: Counter) -> None:
        self._adapter = adapter
        self._requests = requests

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Pass a request on."""
        status = "none"
        try:
            response = self._adapter.request(url, method, **kwargs)
            status = str(response.status_code)
            return response
        finally:
            self._requests.labels(method, status).inc()


def _label(kind: Kind) -> str:
    return kind.name.lower()

# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads after passes of all kinds."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from keystoneauth1 import exceptions as ksa_exceptions
from prometheus_client import REGISTRY, generate_latest

from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.outcome import (
    Basis,
    Outcome,
    PinningResult,
    Pins,
    PlacementResult,
    PoolUse,
    UnmanagedResult,
)
from kongming_sched.agent.model.problem import PLACEMENT, Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.telemetry.metrics import Metrics
from kongming_sched.cpuset import CpuSet
from testbed.adapters import Answer

ONE, TWO = CpuSet.of([1]), CpuSet.of([2])
UNITS = (
    Unit("a", Kind.VCPU, 0, ONE, ONE),
    Unit("a", Kind.VCPU, 1, ONE, TWO),
    Unit("a", Kind.EMULATOR, 0, TWO, TWO),
    Unit("b", Kind.VCPU, 0, TWO, TWO),
)
WEB, DB = Subject(SubjectKind.SERVER, 'web "1"', "a"), Subject(SubjectKind.SERVER, "db", "b")
PINS = Pins({"a": 'web "1"', "b": "db"}, {}, (), UNITS)


def value(metrics: Metrics, family: str, /, **labels: str) -> float | None:
    """One sample; None if it is not there."""
    return metrics.registry.get_sample_value(family, labels)


def full_outcome() -> Outcome:
    """A pass that found and did something of everything."""
    done = ((WEB, Action("a", Kind.VCPU, 0, ONE)), (WEB, Action("a", Kind.IOTHREAD, 1, ONE)))
    return Outcome(
        (Problem(Reason.NO_PLACE, DB, "no room on node 0"),),
        PlacementResult(use=(PoolUse(0, "dedicated", 6, 2), PoolUse(0, "shared", 8, 3))),
        PinningResult(done, PINS),
        UnmanagedResult(4),
    )


def test_pins_wanted_and_actual() -> None:
    """Of each guest the threads that have a place, and those that the kernel has there."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, None)

    assert 3 == value(metrics, "kongming_guest_pins_wanted", server="a", name='web "1"')
    assert 2 == value(metrics, "kongming_guest_pins_actual", server="a", name='web "1"')
    assert 1 == value(metrics, "kongming_guest_pins_actual", server="b", name="db")


def test_names_that_no_encoding_can_write() -> None:
    """Are shown by another character, and all else is exported as ever."""
    metrics = Metrics()
    metrics.record(Outcome(pinning=PinningResult(pins=Pins({"b": "a\x1b[2J\n\ud800"}, {}, (), UNITS[3:]))), 0.1, None)

    text = generate_latest(metrics.registry).decode()

    assert 'kongming_guest_pins_wanted{name="a�[2J �",server="b"} 1.0' in text


def test_names_without_end() -> None:
    """A label is no longer than the longest name that Nova takes."""
    metrics = Metrics()
    metrics.record(Outcome(pinning=PinningResult(pins=Pins({"b": "x" * 20_000}, {}, (), UNITS[3:]))), 0.1, None)

    text = generate_latest(metrics.registry).decode()

    assert 1 == text.count("kongming_guest_pins_wanted{")
    assert len(next(line for line in text.splitlines() if line.startswith("kongming_guest_pins_wanted{"))) < 320


def test_a_guest_that_ended_leaves_nothing() -> None:
    """The next pass replaces what was exported of guests."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, None)
    metrics.record(Outcome(pinning=PinningResult(pins=Pins({"b": "db"}, {}, (), UNITS[3:]))), 0.1, None)

    assert value(metrics, "kongming_guest_pins_wanted", server="a", name='web "1"') is None
    assert 1 == value(metrics, "kongming_guest_pins_wanted", server="b", name="db")


def test_pools_and_guests_without_a_template() -> None:
    """Used and free per node and pool, and how many guests are none of the agent's."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, None)

    assert 2 == value(metrics, "kongming_node_cpus_used", node="0", pool="dedicated")
    assert 4 == value(metrics, "kongming_node_cpus_free", node="0", pool="dedicated")
    assert 5 == value(metrics, "kongming_node_cpus_free", node="0", pool="shared")
    assert 4 == value(metrics, "kongming_guests_without_template")


def test_guests_by_template() -> None:
    """Each guest counts for the template that it has and that of its flavor; one that has ended counts no more."""
    metrics = Metrics()
    bases = {
        "a": Basis("1", "silver", None, 1, {}, flavor_template="gold"),
        "b": Basis("2", "silver", None, 1, {}, flavor_template="gold"),
        "c": Basis("3", "gold", None, 1, {}),
    }
    outcome = full_outcome()
    metrics.record(replace(outcome, pinning=replace(outcome.pinning, bases=bases)), 0.1, None)
    assert 2 == value(metrics, "kongming_guests", template="silver", flavor_template="gold")
    assert 1 == value(metrics, "kongming_guests", template="gold", flavor_template="")

    metrics.record(outcome, 0.1, None)
    assert value(metrics, "kongming_guests", template="silver", flavor_template="gold") is None


def test_latency_is_of_looks_that_pinned_for_an_event() -> None:
    """A pass without an event, or one that found nothing to pin, says nothing about latency."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, None)
    metrics.record(Outcome(), 0.1, 3.0)
    metrics.record(full_outcome(), 0.1, 0.25)

    assert 1 == value(metrics, "kongming_event_to_pin_seconds_count")
    assert 0.25 == value(metrics, "kongming_event_to_pin_seconds_sum")


def test_actions_by_kind() -> None:
    """Every kind is exported from the start, and counts what holds."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, None)

    counts = {kind: value(metrics, "kongming_actions_total", kind=kind.name.lower()) for kind in Kind}
    assert {**dict.fromkeys(Kind, 0), Kind.VCPU: 1, Kind.IOTHREAD: 1} == counts


def test_failures_by_reason() -> None:
    """A problem counts when it comes up or changes; while it lasts it is a problem."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, None)
    metrics.record(full_outcome(), 0.1, None)

    assert 1 == value(metrics, "kongming_failures_total", reason="no_place")
    assert 1 == value(metrics, "kongming_problems", reason="no_place")
    assert 0 == value(metrics, "kongming_failures_total", reason="busy")
    metrics.record(Outcome(), 0.1, None)
    assert 0 == value(metrics, "kongming_problems", reason="no_place")


def test_a_pass_that_came_to_nothing() -> None:
    """It counts as a failure, is no news of success, and what was known of the guests stays."""
    times = iter([1000.0, 2000.0])
    metrics = Metrics(lambda: next(times))
    metrics.record(full_outcome(), 0.1, None)
    metrics.record_failure(Problem(Reason.LIBVIRT, Subject(SubjectKind.LIBVIRT), "libvirtd went away"), 0.2)
    metrics.record(Outcome(problems=(Problem(Reason.PLACEMENT, PLACEMENT, "it did not answer"),)), 0.1, None)

    assert 1000.0 == value(metrics, "kongming_last_successful_pass_timestamp_seconds")
    assert 2 == value(metrics, "kongming_reconcile_passes_total", result="failure")
    assert 1 == value(metrics, "kongming_reconcile_passes_total", result="success")
    assert 3 == value(metrics, "kongming_reconcile_pass_seconds_count")
    assert 1 == value(metrics, "kongming_failures_total", reason="libvirt")
    assert 4 == value(metrics, "kongming_node_cpus_free", node="0", pool="dedicated")
    assert 3 == value(metrics, "kongming_guest_pins_wanted", server="a", name='web "1"')


class Silent:
    """Stands for a service that is not there."""

    def request(self, url: str, method: str, **_: Any) -> Any:  # noqa: ARG002  # the adapter's signature
        raise ksa_exceptions.ConnectFailure("nobody there")


class Busy:
    """Stands for a service that answers 503."""

    def request(self, url: str, method: str, **_: Any) -> Answer:  # noqa: ARG002  # the adapter's signature
        return Answer(503)


def test_placement_requests() -> None:
    """By method and status; what got no answer has none."""
    metrics = Metrics()

    metrics.count_requests(Busy()).request("/traits", "GET")
    with pytest.raises(ksa_exceptions.ConnectFailure):
        metrics.count_requests(Silent()).request("/traits", "PUT")

    assert 1 == value(metrics, "kongming_placement_requests_total", method="GET", status="503")
    assert 1 == value(metrics, "kongming_placement_requests_total", method="PUT", status="none")


def test_registry_of_its_own() -> None:
    """Nothing goes into the registry that all libraries of a process share."""
    Metrics()

    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("kongming")]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not here")
def test_prometheus_finds_nothing_to_complain_of() -> None:
    """Names, units and help are as Prometheus wants them."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, 0.2)
    text = generate_latest(metrics.registry)
    ours = b"".join(
        line for line in text.splitlines(keepends=True) if b"_created" not in line and b"process_" not in line
    )

    result = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, check=False)

    assert (0, b"", b"") == (result.returncode, result.stdout, result.stderr)

# SPDX-License-Identifier: Apache-2.0
"""Which guests start, and how long the CPUs of Nova's XML are kept for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched.agent.model.guest import Guest, Threads
from kongming_sched.agent.state.starts import PATIENCE_SECONDS, Starts, is_clear_of, starting_guest
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import extra_specs
from testbed.simulated_host import domain_xml
from tests.unit.agent.hosts import TEMPLATES

UUID = "11111111-1111-4111-8111-111111111111"
ANYWHERE, POOL = CpuSet.parse("0-15"), CpuSet.parse("1-7")
SPECS = extra_specs(TEMPLATES["gold"], {}, vcpus=2, memory_mb=512)


def pins(*vcpus: str, emulator: str = "1-2") -> Threads:
    """The pins of a guest with an I/O thread."""
    cpus = dict(enumerate(map(CpuSet.parse, vcpus)))
    return Threads(cpus, CpuSet.parse(emulator), {1: CpuSet.parse(emulator)})


PINS = pins("1", "2")


def guest(threads: Threads = PINS, specs: dict[str, str] = SPECS) -> Guest:
    """A guest of two vCPUs that starts with these pins."""
    return starting_guest(domain_xml("instance-1", UUID, 2, specs, start=7, pins=threads), ANYWHERE)


class Clock:
    """Seconds since the machine's start, as a test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_threads_are_where_the_xml_has_them() -> None:
    """A starting guest counts as if it ran with its pins, those of I/O threads included."""
    assert PINS == guest().threads


def test_a_vcpu_that_can_be_added_later() -> None:
    """It has a pin and no thread."""
    assert PINS == guest(pins("1", "2", "3")).threads


def test_they_outlive_the_agent(tmp_path: Path) -> None:
    """A new process keeps the same CPUs for it."""
    path = tmp_path / "run" / "starts.json"
    Starts(path).reserve(guest())

    assert [PINS] == [found.threads for found in Starts(path).guests(ANYWHERE)]
    assert [PINS] == [found.threads for found in Starts.read_only(path).guests(ANYWHERE)]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"xml": "<domain/>", "since": 1}}', '{"a": 1}'])
def test_a_file_of_another_kind(tmp_path: Path, text: str) -> None:
    """It is taken for none."""
    path = tmp_path / "starts.json"
    path.write_text(text)

    assert () == Starts(path).guests(ANYWHERE)


@pytest.mark.parametrize(
    ("listed", "asked_after_seconds", "threads", "later_seconds", "starts"),
    [
        pytest.param([UUID], 1, pins("0-15", "0-15"), 1, True, id="libvirt has pinned nothing yet"),
        pytest.param([UUID], 1, pins("1", "0-15"), 1, True, id="one vCPU is pinned"),
        pytest.param([UUID], 1, Threads(PINS.vcpus, PINS.emulator), 1, True, id="an I/O thread is not there yet"),
        pytest.param([UUID], 1, PINS, 1, False, id="all is pinned"),
        pytest.param([UUID], 1, None, 1, True, id="it has no process yet"),
        pytest.param([], 1, None, 1, False, id="libvirt does not list it"),
        pytest.param([], -1, None, 1, True, id="the list is older than the start"),
        pytest.param([UUID], 1, pins("0-15", "0-15"), PATIENCE_SECONDS + 1, False, id="it takes too long"),
    ],
)
def test_how_long(
    listed: Sequence[str], asked_after_seconds: float, threads: Threads | None, later_seconds: float, starts: bool
) -> None:
    """Until the guest has all pins of its XML, its start has failed, or two minutes have passed."""
    clock = Clock()
    reservations = Starts(clock=clock)
    reservations.reserve(guest())
    since = clock.now + asked_after_seconds
    clock.now += later_seconds
    observed = [replace(guest(), threads=threads)] if threads else []

    assert ({UUID} if starts else set()) == reservations.settle(listed, since, observed)


def test_forgotten() -> None:
    """Others stay."""
    reservations = Starts()
    reservations.reserve(guest())
    reservations.forget(["another"])
    kept = reservations.guests(ANYWHERE)
    reservations.forget([UUID])

    assert (1, ()) == (len(kept), reservations.guests(ANYWHERE))


@pytest.mark.parametrize(
    ("threads", "specs", "is_clear"),
    [
        pytest.param(pins("8-15", "8-15", emulator="8-15"), SPECS, True, id="outside"),
        pytest.param(pins("0-15", "0-15", emulator="0-15"), SPECS, True, id="floats over it"),
        pytest.param(None, SPECS, True, id="no pins"),
        pytest.param(pins("8-15", "8-15", emulator="3"), SPECS, False, id="the emulator is inside"),
        pytest.param(PINS, SPECS, False, id="vCPUs inside"),
        pytest.param(PINS, {}, True, id="no template"),
    ],
)
def test_who_needs_clear_cpus(threads: Threads | None, specs: dict[str, str], is_clear: bool) -> None:
    """A guest of a template with a thread that is pinned inside the pool."""
    assert is_clear == is_clear_of(POOL, domain_xml("instance-1", UUID, 2, specs, start=7, pins=threads))

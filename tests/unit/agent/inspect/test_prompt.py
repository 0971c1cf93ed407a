# SPDX-License-Identifier: Apache-2.0
"""Guests that hang, as commands see them: each call for such a guest is given up, and the others are read."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.inspect.prompt import PromptHypervisor
from kongming_sched.agent.model.guest import Domain, DomainId
from kongming_sched.cpuset import CpuSet
from testbed.simulated_host import SimulatedHost
from testbed.topologies import two_nodes_smt2

ANSWER_SECONDS = 0.5
HANG_SECONDS = 30.0
"""How long libvirt waits for its lock of a guest."""

HANGS = "libvirt could not answer: another call for this guest does not end; its QEMU or its storage may hang"


class HangingHost(SimulatedHost):
    """A host some of whose guests keep each call waiting until the test is over.

    :ivar hanging: their server ids
    :ivar asked: the server id of each call that has waited
    """

    def __init__(self) -> None:
        super().__init__(two_nodes_smt2(), CpuSet())
        self.hanging: set[str] = set()
        self.asked: list[str] = []
        self.over = threading.Event()

    def read(self, found: DomainId) -> Domain:
        self._wait(found.uuid)
        return super().read(found)

    def is_busy(self, domain: Domain) -> bool:
        self._wait(domain.uuid)
        return super().is_busy(domain)

    def _wait(self, server: str) -> None:
        if server in self.hanging:
            self.asked.append(server)
            self.over.wait(HANG_SECONDS)


@pytest.fixture
def host() -> Iterator[HangingHost]:
    """A host of eight guests."""
    host = HangingHost()
    for number in range(1, 9):
        host.spawn(str(uuid.UUID(int=number)), 1, {})
    yield host
    host.over.set()


def prompt(host: HangingHost) -> PromptHypervisor:
    """What a command reaches libvirt by, with a clock by which each wait is as long as it should be."""
    return PromptHypervisor(host, host, ANSWER_SECONDS, lambda: len(host.asked) * ANSWER_SECONDS)


def test_guest_that_hangs_is_given_up(host: HangingHost) -> None:
    """Within the time for an answer; all others are read, and its fault says what to see to."""
    first, *_ = host.hanging = {str(uuid.UUID(int=3))}
    began = time.monotonic()

    domains = prompt(host).domains()

    assert time.monotonic() - began < HANG_SECONDS / 2
    assert {first: f"{HANGS} (after 0 s; this command asks for it no more)"} == {
        domain.uuid: domain.fault for domain in domains if domain.fault
    }
    assert 8 == len(domains)


def test_guest_that_hangs_is_asked_for_once(host: HangingHost) -> None:
    """However often a command reads the guests, it waits once for each that hangs."""
    host.hanging = {str(uuid.UUID(int=3)), str(uuid.UUID(int=5))}
    libvirt = prompt(host)

    found = [[domain.fault for domain in libvirt.domains()] for _ in range(3)]

    assert sorted(host.hanging) == host.asked
    assert [found[0]] * 3 == found


def test_no_more_than_four_guests_are_waited_for(host: HangingHost) -> None:
    """The rest is left out, since libvirtd works on few requests of a client at a time."""
    host.hanging = {str(uuid.UUID(int=number)) for number in range(1, 7)}

    faults = [domain.fault for domain in prompt(host).domains()]

    assert 4 == len(host.asked)
    assert ["libvirt was slow for other guests, so that this command does not ask for this one"] * 4 == faults[4:]


def test_change_of_a_guest_that_hangs_is_given_up(host: HangingHost) -> None:
    """No further change of it is tried then."""
    libvirt = prompt(host)
    domain = libvirt.domains()[0]
    host.hanging = {domain.uuid}

    with pytest.raises(exceptions.SlowGuest, match="this command asks for it no more"):
        libvirt.is_busy(domain)
    with pytest.raises(exceptions.SlowGuest, match="this command asks for it no more"):
        libvirt.pin_vcpu(domain, 0, CpuSet.of([1]))

    assert 1 == len(host.asked)
    assert "pin_vcpu" not in host.log

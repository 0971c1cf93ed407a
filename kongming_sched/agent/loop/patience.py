# SPDX-License-Identifier: Apache-2.0
"""Keeps guests for which libvirt is slow to answer from taking the time of the others.

Every call for a guest needs libvirt's lock of that guest, for which it waits 30 seconds before it fails
(VIR_JOB_WAIT_TIME of its source). So long takes each call for a guest whose QEMU or storage hangs, and none can be
interrupted. So guests of which a call failed slowly come last and are left alone for a while, and a pass spends no more
than a minute on such calls of a kind. systemd's watchdog hears after each call that the loop goes on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import MemoryReader, PlainHypervisor, read_domains
from kongming_sched.agent.loop.long_call import WATCH_SECONDS, call_watched
from kongming_sched.agent.model.guest import Domain, DomainId
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for guests for which libvirt is slow, and what is reported of them.

    :ivar slow_seconds: a call that fails after more than this has waited for a lock
    :ivar total_seconds: how much of a pass may go to slow failures of reading, and of changing
    :ivar afterwards: what becomes of a guest of which a call has failed slowly, in words
    :ivar left: what becomes of the others once that time is spent, in words
    """

    slow_seconds: float
    total_seconds: float
    afterwards: str
    left: str


OF_PASS = Limits(5.0, 60.0, "it is tried again after a while", "this one is left to the next pass")
"""Those of the agent: a pass may wait twice for libvirt's lock of a guest."""

_RETRY_SECONDS = 1.0
"""How soon the next pass is due for guests that were left to it."""

_FIRST_BACKOFF_SECONDS = 120.0
"""How long a guest is left alone after its first slow call; twice as long after each further one, up to 10 minutes."""


class Work(StrEnum):
    """What a call does. A guest that hangs can often be read and not changed."""

    READ = "read"
    CHANGE = "change"


class Patience:
    """Which guests libvirt was slow for, and how much time a pass has spent on them.

    :param clock: seconds since the machine's start
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, limits: Limits = OF_PASS) -> None:
        self.clock = clock
        self._limits = limits
        self._backoff = Backoff(_FIRST_BACKOFF_SECONDS, clock)
        self._slow: dict[tuple[str, Work], str] = {}
        self._read: set[str] = set()
        self._spent_seconds: defaultdict[Work, float] = defaultdict(float)
        self._may_retry = False
        self._has_left = False

    def start(self) -> None:
        """A pass starts; until retry() no guest is asked for that libvirt was slow for."""
        self._spent_seconds.clear()
        self._may_retry = self._has_left = False

    def retry(self) -> None:
        """Ask for guests that libvirt was slow for, once their time has come."""
        self._may_retry = True

    def in_order(self, found: Iterable[DomainId]) -> list[DomainId]:
        """The domains in the order in which to read them: new ones first, those that failed slowly last time last."""
        return sorted(found, key=lambda domain: ((domain.uuid, Work.READ) in self._slow, domain.uuid in self._read))

    def keep_only(self, running: Iterable[str]) -> None:
        """Forget guests that do not run any more."""
        keys = {(uuid, work) for uuid in running for work in Work}
        self._backoff.keep_only(map(_name, keys))
        # A list, for the loop may note a guest while another thread waits for libvirt's list of guests.
        self._slow = {key: reason for key, reason in list(self._slow.items()) if key in keys}
        self._read &= {uuid for uuid, _ in keys}

    def refusal(self, uuid: str, work: Work) -> str:
        """Why libvirt is not to be asked for a guest now; empty if it is."""
        key = uuid, work
        if key not in self._slow:
            if self._spent_seconds[work] < self._limits.total_seconds:
                return ""
            self._has_left = True
            return f"libvirt was slow for other guests, so that {self._limits.left}"
        if _name(key) in self._backoff.waiting():
            return self._slow[key]
        if self._may_retry and not self._spent_seconds[work]:
            return ""
        self._has_left = self._has_left or self._may_retry
        return self._slow[key]

    def answered(self, uuid: str, work: Work) -> None:
        """Note that a call has done what it should, however long that took."""
        if work is Work.READ:
            self._read.add(uuid)
        if self._slow.pop((uuid, work), None) is not None:
            self._backoff.forget(_name((uuid, work)))

    def failed(self, uuid: str, work: Work, seconds: float, error: str) -> str:
        """Note that a call has failed; gives the reason to leave the guest alone if that took long, else nothing."""
        if seconds < self._limits.slow_seconds:
            return ""
        key = uuid, work
        self._spent_seconds[work] += seconds
        self._slow[key] = f"{error} (after {seconds:.0f} s; {self._limits.afterwards})"
        self._backoff.record({_name(key): error}, ())
        return self._slow[key]

    def slow_guests(self) -> dict[str, str]:
        """Guests that are left alone now: id to the reason."""
        return {uuid: reason for (uuid, _), reason in self._slow.items()}

    def next_seconds(self) -> float | None:
        """How long until a guest is due that was left alone, in seconds; None if there is none."""
        return _RETRY_SECONDS if self._has_left else self._backoff.next_seconds() or None


def _name(key: tuple[str, Work]) -> str:
    return f"{key[1]} {key[0]}"


class PatientHypervisor:
    """libvirt as the loop uses it: see LibvirtHypervisor for what each method does.

    Beside what is raised there each method for a guest raises SlowGuest at once while the guest is to be left alone.

    :param kernel: knows how far it has come with moving a guest's memory
    :param progress: called after each call and while memory moves, from the thread that uses this
    :param watch_seconds: how often to watch memory that moves
    """

    def __init__(
        self,
        hypervisor: PlainHypervisor,
        kernel: MemoryReader,
        patience: Patience,
        progress: Callable[[], None] = lambda: None,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._patience = patience
        self._progress = progress
        self._watch_seconds = watch_seconds

    def slow_guests(self) -> dict[str, str]:
        """Guests for which libvirt was slow and is not asked now: id to the reason."""
        return self._patience.slow_guests()

    def host_name(self) -> str:  # noqa: D102
        return self._hypervisor.host_name()

    def machine_mark(self) -> str:  # noqa: D102
        return self._hypervisor.machine_mark()

    def topology(self) -> HostTopology:  # noqa: D102
        return self._hypervisor.topology()

    def take_started(self) -> frozenset[str]:  # noqa: D102
        return self._hypervisor.take_started()

    def close(self) -> None:  # noqa: D102
        self._hypervisor.close()

    def domains(self) -> list[Domain]:
        """Every running domain by id, those that cannot be read now included; the slow ones are read last."""
        found = self._hypervisor.running()
        self._progress()
        self._patience.keep_only(domain.uuid for domain in found)
        return read_domains(self, self._patience.in_order(found))

    def find(self, names: Iterable[str]) -> list[Domain]:
        """Those of these domains that run, whatever else runs; see LibvirtHypervisor.running_of()."""
        return read_domains(self, self._hypervisor.running_of(names))

    def read(self, found: DomainId) -> Domain:  # noqa: D102
        return self._ask(Work.READ, found.uuid, lambda: self._hypervisor.read(found))

    def pin_vcpu(self, domain: Domain, vcpu: int, cpus: CpuSet) -> None:  # noqa: D102
        self._ask(Work.CHANGE, domain.uuid, lambda: self._hypervisor.pin_vcpu(domain, vcpu, cpus))

    def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None:  # noqa: D102
        self._ask(Work.CHANGE, domain.uuid, lambda: self._hypervisor.pin_emulator(domain, cpus))

    def pin_iothread(self, domain: Domain, iothread: int, cpus: CpuSet) -> None:  # noqa: D102
        self._ask(Work.CHANGE, domain.uuid, lambda: self._hypervisor.pin_iothread(domain, iothread, cpus))

    def bind_memory(self, domain: Domain, nodes: CpuSet) -> None:
        """Let a guest's memory lie on these NUMA nodes only; pages that move there are progress."""

        def bind() -> None:
            self._hypervisor.bind_memory(domain, nodes)

        def observe() -> dict[int, int] | None:
            try:
                return self._kernel.memory_mb(domain)
            except (exceptions.GuestGone, exceptions.KernelError):
                return None

        self._ask(Work.CHANGE, domain.uuid, lambda: call_watched(bind, observe, self._progress, self._watch_seconds))

    def set_scheduler(self, domain: Domain, parameters: Mapping[str, int]) -> None:  # noqa: D102
        self._ask(Work.CHANGE, domain.uuid, lambda: self._hypervisor.set_scheduler(domain, parameters))

    def is_busy(self, domain: Domain) -> bool:  # noqa: D102
        return self._ask(Work.CHANGE, domain.uuid, lambda: self._hypervisor.is_busy(domain))

    def repair_definition(self, domain: Domain) -> bool | None:  # noqa: D102
        return self._ask(Work.CHANGE, domain.uuid, lambda: self._hypervisor.repair_definition(domain))

    def _ask(self, work: Work, uuid: str, call: Callable[[], _T]) -> _T:
        """Make a call for a guest, unless it is to be left alone.

        :raises SlowGuest: if it is, or is from now on
        """
        if reason := self._patience.refusal(uuid, work):
            raise exceptions.SlowGuest(reason)
        began = self._patience.clock()
        try:
            result = self._make(call)
        except (exceptions.HypervisorUnavailable, exceptions.GuestGone):
            raise
        except exceptions.HypervisorError as error:
            reason = self._patience.failed(uuid, work, self._patience.clock() - began, str(error))
            if reason:
                raise exceptions.SlowGuest(reason) from error
            raise
        finally:
            self._progress()
        self._patience.answered(uuid, work)
        return result

    def _make(self, call: Callable[[], _T]) -> _T:
        """Make a call of libvirt, here however long it takes.

        :raises HypervisorError: if it failed
        """
        return call()

# SPDX-License-Identifier: Apache-2.0
"""Guests that ask for no template: what KongMing put on them is taken off, and they are confined if that is wanted."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Sequence

from kongming_sched import exceptions
from kongming_sched.agent.act.confine import Confinement
from kongming_sched.agent.act.helpers import HelperThreads
from kongming_sched.agent.decide.layout import SCHEDULER_DEFAULTS
from kongming_sched.agent.host.ports import Hypervisor, Kernel, pin_thread
from kongming_sched.agent.model.guest import RunningGuest, libvirt_pins
from kongming_sched.agent.model.outcome import UnmanagedResult
from kongming_sched.agent.model.problem import Problem, Reason, server
from kongming_sched.agent.state.history import History
from kongming_sched.agent.state.released import Released
from kongming_sched.pools import HostCpus
from kongming_sched.topology import HostTopology


class UnmanagedGuests:
    """Looks after the running guests that have no template.

    :param confinement: confines them, and knows what they had before
    :param confine_unmanaged: whether they are to be kept off the dedicated pool
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        kernel: Kernel,
        confinement: Confinement | None = None,
        confine_unmanaged: bool = False,
    ) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._confinement = Confinement(hypervisor, kernel) if confinement is None else confinement
        self._confine_unmanaged = confine_unmanaged

    def run(
        self,
        unmanaged: Sequence[RunningGuest],
        unread: Collection[str],
        cpus: HostCpus,
        history: History,
        released: Released,
    ) -> UnmanagedResult:
        """Bring them to where they should be.

        :param unread: server ids of running guests that cannot be read, which may be such guests, too
        :param history: of the guests of templates, one of which may have lost its template while it ran
        :raises HypervisorUnavailable: if libvirt went away
        """
        failed: list[tuple[RunningGuest, str]] = []
        for guest in [guest for guest in unmanaged if history.knows(*guest.run) or self._has_pins(guest, cpus)]:
            try:
                self._lift(guest, cpus.topology)
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                failed.append((guest, str(error)))
                continue
            history.forget(guest.uuid)

        def is_wanted(guest: RunningGuest) -> bool:
            return self._confine_unmanaged and not released.covers(*guest.run)

        confined = self._confinement.run(unmanaged, cpus.pools.dedicated, cpus.topology.cpus, is_wanted, unread)
        return UnmanagedResult(
            len(unmanaged),
            tuple((server(guest), what) for guest, what in confined.done),
            tuple(Problem(Reason.UNMANAGED, server(guest), text) for guest, text in (*confined.problems, *failed)),
        )

    def _has_pins(self, guest: RunningGuest, cpus: HostCpus) -> bool:
        """Whether a guest that cannot have its class here is still pinned by it, as it was where it comes from."""
        if not guest.identity.server_class:
            return False
        everywhere, pool = cpus.topology.cpus, cpus.pools.dedicated
        try:
            pins = libvirt_pins(guest.domain, everywhere).by_key().values()
        except (ET.ParseError, exceptions.InvalidCpuSet, exceptions.InvalidNumber):
            return False
        # One that is confined is pinned as well, to what is not of the pool.
        return any(each <= pool or (not self._confine_unmanaged and everywhere - each) for each in pins)

    def _lift(self, guest: RunningGuest, topology: HostTopology) -> None:
        """Take off what a template gave it: all CPUs, all nodes that have memory, and its flavor's own QoS."""
        domain, identity = guest.domain, guest.identity
        threads = self._kernel.threads(domain)
        for thread in threads.by_key():
            pin_thread(self._hypervisor, domain, thread, topology.cpus)
        HelperThreads(self._kernel).give_back(guest, threads, topology.cpus)
        nodes = topology.memory_nodes
        if identity.memory_mode == "restrictive" and nodes and identity.memory_nodes != nodes:
            self._hypervisor.bind_memory(domain, nodes)
        values = {**SCHEDULER_DEFAULTS, "cpu_shares": self._kernel.default_shares(), **identity.quota}
        if domain.scheduler:
            self._hypervisor.set_scheduler(domain, {name: values[name] for name in domain.scheduler})

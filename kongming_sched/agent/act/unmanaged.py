# SPDX-License-Identifier: Apache-2.0
"""Guests that ask for no template: what KongMing put on them is taken off, and they are confined if that is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from kongming_sched import exceptions
from kongming_sched.agent.act.confine import Confined, Confinement
from kongming_sched.agent.decide.layout import SCHEDULER_DEFAULTS
from kongming_sched.agent.host.ports import Hypervisor, Kernel, pin_thread
from kongming_sched.agent.model.guest import RunningGuest
from kongming_sched.agent.state.history import History
from kongming_sched.agent.state.released import Released
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology


class UnmanagedGuests:
    """Looks after them.

    :param confinement: what they had before they were confined
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
        topology: HostTopology,
        dedicated: CpuSet,
        history: History,
        released: Released,
    ) -> Confined:
        """Bring them to where they should be.

        :param history: of the guests of templates, one of which may have become a stranger while it ran
        :raises HypervisorUnavailable: if libvirt went away
        """
        problems = {}
        for stranger in [stranger for stranger in unmanaged if history.knows(*stranger.run)]:
            try:
                self._lift(stranger, topology)
            except exceptions.GuestGone:
                continue
            except exceptions.HypervisorUnavailable:
                raise
            except exceptions.HypervisorError as error:
                problems[str(stranger)] = str(error)
                continue
            history.forget(stranger.uuid)

        def is_wanted(stranger: RunningGuest) -> bool:
            return self._confine_unmanaged and not released.covers(*stranger.run)

        confined = self._confinement.run(unmanaged, dedicated, topology.cpus, is_wanted)
        confined.problems |= problems
        return confined

    def _lift(self, stranger: RunningGuest, topology: HostTopology) -> None:
        """Let its threads run on all CPUs and its memory lie on all nodes that have any, with its flavor's own QoS."""
        domain, identity = stranger.domain, stranger.identity
        threads = self._kernel.threads(domain)
        for thread in threads.by_key():
            pin_thread(self._hypervisor, domain, thread, topology.cpus)
        nodes = topology.memory_nodes
        if identity.memory_mode == "restrictive" and nodes and identity.memory_nodes != nodes:
            self._hypervisor.bind_memory(domain, nodes)
        values = {**SCHEDULER_DEFAULTS, "cpu_shares": self._kernel.default_shares(), **identity.quota}
        if domain.scheduler:
            self._hypervisor.set_scheduler(domain, {name: values[name] for name in domain.scheduler})

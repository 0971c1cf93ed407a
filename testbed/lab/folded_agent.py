# SPDX-License-Identifier: Apache-2.0
"""The agent on a host that has more CPUs than this machine, whose CPUs are folded onto those that there are.

``python -m testbed.lab.folded_agent --config-file FILE`` is kongming-agent with the real libvirt, real guests and the
real kernel, of which only the meaning of a CPU's number changes: wide CPU n is CPU n modulo the machine's. A pin goes
to libvirt folded and the kernel is read as always. A thread that is where its wide CPUs fold to has these; any other
has what the kernel says.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import replace

from oslo_log import log

from kongming_sched.agent.commands.agent import parse
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.loop.service import Agent
from kongming_sched.agent.model.guest import Domain, HelperThread, Threads
from kongming_sched.cpuset import CpuSet
from kongming_sched.topology import HostTopology
from testbed.topologies import make_topology

NODES, CPUS_PER_NODE, RESERVED_PER_NODE = 2, 804, 4
"""A host on which 200 guests of 8 vCPUs have a CPU for each vCPU."""

TOPOLOGY = make_topology(NODES, CPUS_PER_NODE)
HOUSEKEEPING = CpuSet.union(CpuSet.of(list(node.cpus)[:RESERVED_PER_NODE]) for node in TOPOLOGY.nodes)
DEDICATED = TOPOLOGY.cpus - HOUSEKEEPING

_Thread = tuple[str, str, int]


class Folds:
    """Which wide CPUs each thread was given.

    :ivar real: the machine's CPUs
    """

    def __init__(self) -> None:
        self.real = CpuSet()
        self._wide: dict[_Thread, CpuSet] = {}

    def fold(self, thread: _Thread, cpus: CpuSet) -> CpuSet:
        """Give a thread wide CPUs; these are the machine's."""
        self._wide[thread] = cpus
        return _folded(cpus, self.real)

    def unfold(self, thread: _Thread, cpus: CpuSet) -> CpuSet:
        """The wide CPUs of a thread that the kernel has on these."""
        wide = self._wide.get(thread, TOPOLOGY.cpus)
        return wide if _folded(wide, self.real) == cpus else cpus


@functools.lru_cache(maxsize=8192)
def _folded(cpus: CpuSet, onto: CpuSet) -> CpuSet:
    real = list(onto)
    return CpuSet.of(real[cpu % len(real)] for cpu in cpus)


class FoldedHypervisor(LibvirtHypervisor):
    """Real libvirt, which gets folded CPUs."""

    def __init__(self, uri: str, on_event: Callable[[], None], folds: Folds) -> None:
        super().__init__(uri, on_event)
        self._folds = folds

    def topology(self) -> HostTopology:
        """The wide host, once the real one was read."""
        self._folds.real = super().topology().cpus
        return TOPOLOGY

    def pin_vcpu(self, domain: Domain, vcpu: int, cpus: CpuSet) -> None:
        super().pin_vcpu(domain, vcpu, self._folds.fold((domain.uuid, "vcpu", vcpu), cpus))

    def pin_emulator(self, domain: Domain, cpus: CpuSet) -> None:
        super().pin_emulator(domain, self._folds.fold((domain.uuid, "emulator", 0), cpus))

    def pin_iothread(self, domain: Domain, iothread: int, cpus: CpuSet) -> None:
        super().pin_iothread(domain, iothread, self._folds.fold((domain.uuid, "iothread", iothread), cpus))


class FoldedHost(Host):
    """The real kernel, whose CPUs are read as wide ones."""

    def __init__(self, folds: Folds) -> None:
        super().__init__()
        self._folds = folds

    def threads(self, domain: Domain) -> Threads:
        """The affinity of every thread of a guest."""
        found, unfold = super().threads(domain), self._folds.unfold
        return replace(
            found,
            vcpus={vcpu: unfold((domain.uuid, "vcpu", vcpu), cpus) for vcpu, cpus in found.vcpus.items()},
            emulator=unfold((domain.uuid, "emulator", 0), found.emulator),
            iothreads={n: unfold((domain.uuid, "iothread", n), cpus) for n, cpus in found.iothreads.items()},
        )

    def helper(self, number: int, name: str) -> HelperThread | None:
        """A helper thread as it is."""
        found = super().helper(number, name)
        return found and replace(found, cpus=self._folds.unfold(("", name, number), found.cpus))

    def pin_helper(self, thread: HelperThread, cpus: CpuSet, pid: int) -> None:
        """Let a helper thread run on these CPUs only."""
        super().pin_helper(thread, self._folds.fold(("", thread.name, thread.number), cpus), pid)


def main() -> None:
    """Run until killed."""
    conf = parse(sys.argv[1:])
    log.setup(conf, "kongming")
    folds = Folds()
    Agent(conf, lambda uri, on_event: FoldedHypervisor(uri, on_event, folds), FoldedHost(folds)).run()


if __name__ == "__main__":
    main()

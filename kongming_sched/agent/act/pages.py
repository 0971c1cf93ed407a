# SPDX-License-Identifier: Apache-2.0
"""Whether a guest's pages lie where its memory is bound: libvirt and the kernel may accept a binding and move nothing.

The kernel moves the pages on nodes that a guest loses. Pages that were on other nodes already, moved there by other
means, stay; binding to all nodes first and then to the right ones fetches these. What is locked (devices that are
passed through) cannot be moved at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import Hypervisor, Kernel
from kongming_sched.agent.model.guest import Domain, Guest
from kongming_sched.agent.model.view import GuestLayout
from kongming_sched.cpuset import CpuSet

TOLERATED_MB = 16
"""What may lie elsewhere: a few buffers of QEMU's that the kernel could not move just then."""

TOLERATED_SHARE = 0.01
"""Of all the memory of a guest, which may lie elsewhere if that is more than the above."""

_PATIENCE_SECONDS = 600.0
"""When to count the pages of a guest again that did not move: that walks through all of its memory."""

_PER_PASS = 4
"""How many guests' pages a pass counts, so that the first one after a start of the agent does not take minutes."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What counting the pages of a run of a guest found.

    :ivar start: libvirt's number of that run
    :ivar nodes: those that its memory was bound to
    :ivar problem: empty if all pages were there
    :ivar until: when to count again, if there was a problem, in seconds of the clock
    """

    start: str
    nodes: CpuSet
    problem: str
    until: float


class MemoryCheck:
    """Counts the pages of each guest once it was bound, and again after a while as long as some are elsewhere."""

    def __init__(self, hypervisor: Hypervisor, kernel: Kernel, clock: Callable[[], float] = time.monotonic) -> None:
        self._hypervisor = hypervisor
        self._kernel = kernel
        self._clock = clock
        self._verdicts: dict[str, _Verdict] = {}

    def run(
        self,
        guests: Iterable[Guest],
        layouts: Mapping[str, GuestLayout],
        everywhere: CpuSet,
    ) -> dict[str, str]:
        """Server id to what is wrong with its pages.

        :param guests: those that are as they should be in all other ways
        :param everywhere: all NUMA nodes of the host that have memory
        """
        problems = {}
        verdicts = {}
        left = _PER_PASS
        for guest in guests:
            nodes = layouts[guest.uuid].memory_nodes or guest.identity.memory_nodes
            is_ours = guest.identity.memory_mode in ("", "restrictive")
            if not nodes or nodes == everywhere or not is_ours:
                continue
            verdict = self._verdicts.get(guest.uuid)
            key = guest.identity.start, nodes
            if verdict is None or (verdict.start, verdict.nodes) != key or self._is_due(verdict):
                if not left:
                    continue
                left -= 1
                try:
                    problem = self._judge(guest.domain, nodes, everywhere)
                except exceptions.GuestGone:
                    continue
                except exceptions.HypervisorUnavailable:
                    raise
                except exceptions.SlowGuest as error:
                    problems[guest.uuid] = str(error)
                    continue
                except exceptions.HypervisorError as error:
                    problem = str(error)
                verdict = _Verdict(*key, problem, self._clock() + _PATIENCE_SECONDS)
            verdicts[guest.uuid] = verdict
            if verdict.problem:
                problems[guest.uuid] = verdict.problem
        self._verdicts = verdicts
        return problems

    def _is_due(self, verdict: _Verdict) -> bool:
        return bool(verdict.problem) and verdict.until <= self._clock()

    def _judge(self, domain: Domain, nodes: CpuSet, everywhere: CpuSet) -> str:
        """Count, and if pages are on other nodes fetch them and count again; gives what is wrong then."""
        if not find_elsewhere(self._kernel.memory_mb(domain), nodes) or self._hypervisor.is_busy(domain):
            return ""
        self._hypervisor.bind_memory(domain, everywhere)
        self._hypervisor.bind_memory(domain, nodes)
        elsewhere = find_elsewhere(self._kernel.memory_mb(domain), nodes)
        if not elsewhere:
            return ""
        where = ", ".join(f"{mb} MiB on node {node}" for node, mb in elsewhere.items())
        return (
            f"its memory is bound to node {nodes}, and the kernel has left {where}; if the memory is locked (devices"
            " passed through, huge pages that the node lacks), a stop and start puts it right"
        )


def find_elsewhere(memory_mb: Mapping[int, int], nodes: CpuSet) -> dict[int, int]:
    """The MiB on each node outside of these; empty if they are no more than is tolerated.

    :param memory_mb: NUMA node to the MiB of a guest that lie there
    """
    elsewhere = {node: mb for node, mb in memory_mb.items() if node not in nodes}
    limit = max(TOLERATED_MB, TOLERATED_SHARE * sum(memory_mb.values()))
    return elsewhere if sum(elsewhere.values()) > limit else {}

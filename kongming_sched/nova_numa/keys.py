# SPDX-License-Identifier: Apache-2.0
"""The extra specs by which Nova lays a server out on NUMA nodes itself, as far as they follow from a template.

Nova makes a NUMA topology of these keys, and fits it to the host in its scheduler and in nova-compute. Beside a
template they say what the template says, so that Nova's own fit can be led to the nodes of the claim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from kongming_sched.page_sizes import read_kib, size_name
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

PAGE_SIZE_KEY = "hw:mem_page_size"
NODES_KEY = "hw:numa_nodes"
CPU_POLICY_KEY = "hw:cpu_policy"
_OF_CELL = re.compile(r"hw:numa_(cpus|mem)\.([0-9]{1,3})")


class NovaCpuPolicy(StrEnum):
    """Which host CPUs Nova gives such a server at its start, before the agent pins it."""

    DEDICATED = "dedicated"
    """One each, of nova.conf's ``[compute] cpu_dedicated_set``, which is the dedicated pool of such hosts."""
    SHARED = "shared"
    """All of the node's in ``cpu_shared_set``, which must be as many as the cell has vCPUs."""


@dataclass(frozen=True, slots=True)
class GuestCell:
    """A NUMA node of the guest, as Nova has it.

    :ivar vcpus: None where Nova has put all of them into the only node
    """

    vcpus: CpuSet | None
    memory_mb: int


@dataclass(frozen=True, slots=True)
class NovaNuma:
    """The NUMA topology that Nova makes of a flavor.

    :ivar page_kib: the size of its pages in KiB; None for those of the usual size
    :ivar cells: a node of the guest for each cell of the template, in the same order
    """

    page_kib: int | None
    cpu_policy: NovaCpuPolicy
    cells: tuple[GuestCell, ...]

    def extra_specs(self, *, visible: bool) -> dict[str, str]:
        """The keys that make Nova lay a server out so.

        :param visible: whether the guest's nodes are named, as they need not be if there is one
        """
        specs: dict[str, str] = {}
        if self.page_kib is not None:
            specs[PAGE_SIZE_KEY] = size_name(self.page_kib).replace("iB", "B")  # as Nova's documents write it
        if visible:
            specs[NODES_KEY] = str(len(self.cells))
            for index, cell in enumerate(self.cells):
                specs[f"hw:numa_cpus.{index}"] = str(cell.vcpus)
                specs[f"hw:numa_mem.{index}"] = str(cell.memory_mb)
        if self.cpu_policy is NovaCpuPolicy.DEDICATED:
            specs[CPU_POLICY_KEY] = str(self.cpu_policy)
        return specs


def following_keys(extra_specs: Mapping[str, str], cells: int, page_kib: int | None) -> frozenset[str]:
    """The keys of a flavor that follow from its request groups.

    :param cells: how many groups it has
    :param page_kib: the size of the huge pages that they take; None if they take none
    """
    following = set()
    size = extra_specs.get(PAGE_SIZE_KEY)
    if size is not None and page_kib is not None and read_kib(size) == page_kib:
        following.add(PAGE_SIZE_KEY)
    of_cells = {f"hw:numa_{what}.{index}" for what in ("cpus", "mem") for index in range(cells)}
    if cells and extra_specs.get(NODES_KEY) == str(cells) and of_cells <= extra_specs.keys():
        following |= {NODES_KEY, *of_cells}
    if following and extra_specs.get(CPU_POLICY_KEY) == NovaCpuPolicy.DEDICATED:
        following.add(CPU_POLICY_KEY)
    return frozenset(following)


def is_key(key: str) -> bool:
    """Whether an extra spec is of those that may follow from a template."""
    return key in (PAGE_SIZE_KEY, NODES_KEY, CPU_POLICY_KEY) or _OF_CELL.fullmatch(key) is not None


def read_nova_numa(extra_specs: Mapping[str, str], memory_mb: Sequence[int], page_kib: int | None) -> NovaNuma | None:
    """The NUMA topology that Nova makes of a flavor's keys; None if it makes none.

    All keys must be ones that follow from the request groups, see :func:`following_keys`.

    :param memory_mb: the memory in MiB that each request group takes of its node
    :param page_kib: the size of the huge pages that the groups take; None if they take none
    :raises InvalidRequest: naming the key that is wrong or missing, so that Nova would not lay the server out as the
        groups say
    """
    policy = NovaCpuPolicy.DEDICATED if CPU_POLICY_KEY in extra_specs else NovaCpuPolicy.SHARED
    if page_kib is not None and PAGE_SIZE_KEY not in extra_specs:
        reason = f"is missing, and the flavor takes pages of {size_name(page_kib)}"
        raise exceptions.InvalidRequest(PAGE_SIZE_KEY, reason)
    if NODES_KEY in extra_specs:
        cells = [_read_cell(extra_specs, index, memory) for index, memory in enumerate(memory_mb)]
        return NovaNuma(page_kib, policy, tuple(cells))
    if page_kib is None:
        return None
    if len(memory_mb) > 1:
        raise exceptions.InvalidRequest(NODES_KEY, "is missing, and the flavor takes pages on several nodes")
    return NovaNuma(page_kib, policy, (GuestCell(None, memory_mb[0]),))


def _read_cell(extra_specs: Mapping[str, str], index: int, memory_mb: int) -> GuestCell:
    cpus_key, memory_key = f"hw:numa_cpus.{index}", f"hw:numa_mem.{index}"
    try:
        vcpus = CpuSet.parse(extra_specs[cpus_key])
    except exceptions.InvalidCpuSet as error:
        raise exceptions.InvalidRequest(cpus_key, error.reason) from error
    if find_whole_number(extra_specs[memory_key], AMOUNTS) != memory_mb:
        reason = f"is {quote(extra_specs[memory_key])}, and the cell takes {memory_mb} MiB of its node"
        raise exceptions.InvalidRequest(memory_key, reason)
    return GuestCell(vcpus, memory_mb)

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
DEDICATED_MASK_KEY = "hw:cpu_dedicated_mask"
REALTIME_KEY = "hw:cpu_realtime"
REALTIME_MASK_KEY = "hw:cpu_realtime_mask"
EMULATOR_KEY = "hw:emulator_threads_policy"
LOCKED_KEY = "hw:locked_memory"
PCI_POLICY_KEY = "hw:pci_numa_affinity_policy"
DEVICES_KEY = "kongming:devices"
"""Says that Nova's policy for devices follows from the template: flavors without it may have any."""
LOCAL = "local"
_REQUIRED = "required"
_OF_REALTIME = (REALTIME_KEY, REALTIME_MASK_KEY, EMULATOR_KEY)
_MASK = re.compile(r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*")
"""CPUs that are named one by one: Nova also takes masks that name those which are left out."""
_OF_CELL = re.compile(r"hw:numa_(cpus|mem)\.([0-9]{1,3})")


_ISOLATE = "isolate"
_MIXED = "mixed"
_TRUE = frozenset(("1", "t", "true", "on", "y", "yes"))
"""What oslo.utils, and so Nova, takes for yes."""


class NovaCpuPolicy(StrEnum):
    """Which host CPUs Nova gives such a server at its start, before the agent pins it."""

    DEDICATED = "dedicated"
    """One each, of nova.conf's ``[compute] cpu_dedicated_set``, which is the dedicated pool of such hosts; vCPUs that
    float over the shared pool are on all of the node's in ``cpu_shared_set``."""
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
    :ivar realtime: the vCPUs that run in real time
    :ivar has_own_emulator: whether Nova sets a CPU aside for QEMU's own threads, as it does for real-time servers whose
        template gives these one
    :ivar pinned: the vCPUs to which Nova gives a CPU each while the others float; empty if it gives one to all or none
    :ivar has_local_devices: whether Nova takes devices of the server's nodes only
    """

    page_kib: int | None
    cpu_policy: NovaCpuPolicy
    cells: tuple[GuestCell, ...]
    realtime: CpuSet = CpuSet()
    has_own_emulator: bool = False
    pinned: CpuSet = CpuSet()
    has_local_devices: bool = False

    def extra_specs(self, *, visible: bool) -> dict[str, str]:
        """The keys that make Nova lay a server out so.

        :param visible: whether the guest's nodes are named, as they need not be if there is one
        """
        specs: dict[str, str] = {}
        if self.page_kib is not None:
            specs[PAGE_SIZE_KEY] = size_name(self.page_kib).replace("iB", "B")  # as Nova's documents write it
        if self.has_local_devices:
            specs |= {DEVICES_KEY: LOCAL, PCI_POLICY_KEY: _REQUIRED}
        # Of a server with neither pages nor pinned vCPUs Nova makes nodes only if they are named.
        is_pinned = self.cpu_policy is NovaCpuPolicy.DEDICATED
        if visible or not (is_pinned or self.page_kib is not None):
            specs[NODES_KEY] = str(len(self.cells))
            for index, cell in enumerate(self.cells):
                specs[f"hw:numa_cpus.{index}"] = str(cell.vcpus)
                specs[f"hw:numa_mem.{index}"] = str(cell.memory_mb)
        if is_pinned:
            specs[CPU_POLICY_KEY] = _MIXED if self.pinned else str(self.cpu_policy)
            if self.pinned and not self.realtime:  # of both masks Nova takes one
                specs[DEDICATED_MASK_KEY] = str(self.pinned)
        return specs | self._realtime_specs()

    def _realtime_specs(self) -> dict[str, str]:
        """The keys of real time. Nova locks the memory then, and takes the key for it with a size of pages only."""
        if not self.realtime:
            return {}
        specs = {REALTIME_KEY: "true", REALTIME_MASK_KEY: str(self.realtime)}
        if self.page_kib is not None:
            specs[LOCKED_KEY] = "true"
        if self.has_own_emulator:
            specs[EMULATOR_KEY] = _ISOLATE
        return specs


def following_keys(
    extra_specs: Mapping[str, str], cells: int, page_kib: int | None, *, floats: bool = False
) -> frozenset[str]:
    """The keys of a flavor that follow from its request groups.

    :param cells: how many groups it has
    :param page_kib: the size of the huge pages that they take; None if they take none
    :param floats: whether one of them takes CPUs of a shared pool
    """
    following = set()
    size = extra_specs.get(PAGE_SIZE_KEY)
    if size is not None and page_kib is not None and read_kib(size) == page_kib:
        following.add(PAGE_SIZE_KEY)
    of_cells = {f"hw:numa_{what}.{index}" for what in ("cpus", "mem") for index in range(cells)}
    if cells and extra_specs.get(NODES_KEY) == str(cells) and of_cells <= extra_specs.keys():
        following |= {NODES_KEY, *of_cells}
    if DEVICES_KEY in extra_specs and extra_specs.get(PCI_POLICY_KEY) == _REQUIRED:
        following.add(PCI_POLICY_KEY)
    policy = str(NovaCpuPolicy.DEDICATED) if not floats else _MIXED
    if extra_specs.get(CPU_POLICY_KEY) != policy:
        return frozenset(following)
    is_laid_out = cells == 1 or NODES_KEY in following
    has_mask = floats and _is_mask(extra_specs, DEDICATED_MASK_KEY)
    if is_laid_out and _is_true(extra_specs.get(REALTIME_KEY, "")) and _is_mask(extra_specs, REALTIME_MASK_KEY):
        following |= _following_realtime(extra_specs, has_pages=PAGE_SIZE_KEY in following)
        has_mask = False
    if following and (has_mask or REALTIME_KEY in following or not floats):
        following |= {CPU_POLICY_KEY, *([DEDICATED_MASK_KEY] if has_mask else [])}
    return frozenset(following)


def _following_realtime(extra_specs: Mapping[str, str], *, has_pages: bool) -> set[str]:
    """The keys of real time of a flavor that asks for it."""
    following = {REALTIME_KEY, REALTIME_MASK_KEY}
    if extra_specs.get(EMULATOR_KEY) == _ISOLATE:
        following.add(EMULATOR_KEY)
    if has_pages and _is_true(extra_specs.get(LOCKED_KEY, "")):
        following.add(LOCKED_KEY)
    return following


def possible_keys(extra_specs: Mapping[str, str]) -> frozenset[str]:
    """The keys of a flavor that may follow from a template, if it is not known which do."""
    keys = {PAGE_SIZE_KEY, NODES_KEY, CPU_POLICY_KEY, DEDICATED_MASK_KEY, *_OF_REALTIME}
    if REALTIME_KEY in extra_specs:  # operators lock the memory of other servers, too
        keys.add(LOCKED_KEY)
    if DEVICES_KEY in extra_specs:
        keys.add(PCI_POLICY_KEY)
    return frozenset(key for key in extra_specs if key in keys or _OF_CELL.fullmatch(key))


def check_locked(extra_specs: Mapping[str, str]) -> None:
    """See that a flavor of real-time servers does not say that their memory is not locked.

    :raises InvalidRequest: if it does
    """
    if not _is_true(extra_specs.get(LOCKED_KEY, "true")):
        reason = f"is {quote(extra_specs[LOCKED_KEY])}, and the memory of real-time servers is locked; unset it"
        raise exceptions.InvalidRequest(LOCKED_KEY, reason)


def contradicts_local_devices(extra_specs: Mapping[str, str]) -> bool:
    """Whether by a flavor Nova may take devices of other nodes, although they have to be on those of the server."""
    return DEVICES_KEY in extra_specs and extra_specs.get(PCI_POLICY_KEY, _REQUIRED) != _REQUIRED


def _is_mask(extra_specs: Mapping[str, str], key: str) -> bool:
    """Whether a key names vCPUs in the way in which it is written here."""
    return _MASK.fullmatch(extra_specs.get(key, "")) is not None


def _is_true(text: str) -> bool:
    return text.strip().lower() in _TRUE


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
    realtime = _read_realtime(extra_specs)
    pinned = CpuSet()
    if extra_specs.get(CPU_POLICY_KEY) == _MIXED:
        pinned = realtime or _read_mask(extra_specs, DEDICATED_MASK_KEY)
    is_local = _read_devices(extra_specs)
    if NODES_KEY in extra_specs:
        cells = tuple(_read_cell(extra_specs, index, memory) for index, memory in enumerate(memory_mb))
    elif page_kib is None and not realtime and not is_local:
        return None
    elif len(memory_mb) > 1:
        what = "devices of" if page_kib is None and is_local else "pages on"
        raise exceptions.InvalidRequest(NODES_KEY, f"is missing, and the flavor takes {what} several nodes")
    elif page_kib is None and policy is NovaCpuPolicy.SHARED:
        reason = f"is missing, as is {CPU_POLICY_KEY}, and Nova knows no node whose devices the server may have"
        raise exceptions.InvalidRequest(NODES_KEY, reason)
    else:
        cells = (GuestCell(None, memory_mb[0]),)
    has_own_emulator = bool(realtime) and EMULATOR_KEY in extra_specs
    return NovaNuma(page_kib, policy, cells, realtime, has_own_emulator, pinned, is_local)


def _read_devices(extra_specs: Mapping[str, str]) -> bool:
    """Whether a flavor's devices have to be on the nodes of the server.

    :raises InvalidRequest: if it says something else of devices, or does not say so to Nova
    """
    found = extra_specs.get(DEVICES_KEY)
    if found is None:
        return False
    if found != LOCAL:
        raise exceptions.InvalidRequest(DEVICES_KEY, f"{quote(found)} is not {LOCAL}")
    if PCI_POLICY_KEY not in extra_specs:
        raise exceptions.InvalidRequest(PCI_POLICY_KEY, f"is missing, and {DEVICES_KEY} is {LOCAL}")
    return True


def _read_realtime(extra_specs: Mapping[str, str]) -> CpuSet:
    """The vCPUs that run in real time.

    :raises InvalidRequest: if these are none, or their memory is not locked
    """
    if REALTIME_KEY not in extra_specs:
        return CpuSet()
    check_locked(extra_specs)
    return _read_mask(extra_specs, REALTIME_MASK_KEY)


def _read_mask(extra_specs: Mapping[str, str], key: str) -> CpuSet:
    try:
        return CpuSet.parse(extra_specs[key])
    except exceptions.InvalidCpuSet as error:
        raise exceptions.InvalidRequest(key, error.reason) from error


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

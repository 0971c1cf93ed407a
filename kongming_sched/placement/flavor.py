# SPDX-License-Identifier: Apache-2.0
"""A template as a flavor's extra specs: what each of its cells takes from a node provider."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kongming_sched import exceptions
from kongming_sched.caches.rooms import rooms_taken
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.keys import (
    CPU_POLICY_KEY,
    DEVICES_KEY,
    LOCAL,
    PCI_POLICY_KEY,
    GuestCell,
    NovaCpuPolicy,
    NovaNuma,
    check_locked,
    possible_keys,
)
from kongming_sched.placement import names
from kongming_sched.request import (
    GROUP,
    SIZES_OF_NOVAS_CHOICE,
    STRATEGY_KEY,
    TEMPLATE_KEY,
    CellRequest,
    PinningRequest,
    find_clash,
    find_following,
    why_clash,
)
from kongming_sched.template import (
    NAME,
    CpuPolicy,
    EmulatorPolicy,
    GuestNuma,
    MemoryPolicy,
    PinningTemplate,
    TemplateCell,
)

ROOT_VCPU = "resources:VCPU"
GROUP_POLICY = "group_policy"

_OF_DEVICES = ("accel:device_profile", "pci_passthrough:alias")
"""The keys for which Nova asks for further request groups, as many as the profile or the alias has devices."""

_GRANULAR = re.compile(r"resources([a-zA-Z0-9_-]{1,64}):.+")
"""The extra specs that make a granular request group, as nova.scheduler.utils reads them."""


def cell_requests(template: PinningTemplate, memory_mb: int, threads_per_core: int | None) -> tuple[CellRequest, ...]:
    """What each cell of a server takes and requires.

    :param memory_mb: the flavor's memory in MiB, divided among the cells in proportion to their vCPUs
    :param threads_per_core: of the hosts' dedicated pools; only needed for ``require`` and ``isolate``
    :raises InvalidRequest: if threads_per_core is needed and not given, or the memory makes no whole huge pages
    """
    return tuple(
        _cell_request(template, index, memory, threads_per_core)
        for index, memory in enumerate(share_memory(template, memory_mb))
    )


def share_memory(template: PinningTemplate, memory_mb: int) -> tuple[int, ...]:
    """Divide memory in MiB among the cells in proportion to their vCPUs; the first cells take the remainder.

    Each share consists of whole huge pages if the cells have such.

    :raises InvalidRequest: if the memory does not, or if Nova has to lay out a cell that gets none
    """
    unit_mb = -(-template.pages.kib // 1024) if template.pages else 1
    units, rest = divmod(memory_mb, unit_mb)
    if rest:
        near = " or ".join(str(number * unit_mb) for number in (units, units + 1) if number)
        reason = f"{memory_mb} MiB of memory are no whole number of pages of {template.pages}; make it {near} MiB"
        raise exceptions.InvalidRequest("ram", reason)
    shares = [units * len(cell.vcpus) // template.vcpus for cell in template.cells]
    for index in range(units - sum(shares)):
        shares[index] += 1
    if memory_mb and template.needs_nova_numa and not all(shares):
        reason = f"{memory_mb} MiB leave cell {shares.index(0)} no memory, which Nova lays out cell by cell"
        raise exceptions.InvalidRequest("ram", reason)
    return tuple(share * unit_mb for share in shares)


def memory_class(cell: TemplateCell) -> str | None:
    """The resource class from which a cell takes its memory; None if its memory may be anywhere."""
    if cell.pages:
        return names.pages_class(cell.pages.kib)
    return names.MEMORY_MB if cell.memory is MemoryPolicy.STRICT else None


def memory_classes(resources: Mapping[str, int]) -> frozenset[str]:
    """Those classes of a claim that are memory."""
    return frozenset(name for name in resources if name == names.MEMORY_MB or names.page_size_of(name))


def _cell_request(template: PinningTemplate, index: int, memory_mb: int, threads_per_core: int | None) -> CellRequest:
    cell = template.cells[index]
    required = {names.template_trait(template.name)}
    resources: dict[str, int] = {}
    if cell.cpus is CpuPolicy.EXPLICIT:
        resources[names.slot_class(template.name)] = 1
    if cell.floating_vcpus:
        resources[names.VCPU] = len(cell.floating_vcpus)
    if cell.needs_smt_trait:
        if threads_per_core is None:
            raise exceptions.InvalidRequest(
                f"resources{GROUP}{index}:{names.PCPU}",
                f"cannot be counted: template {template.name!r} takes whole cores ({cell.threads}),"
                " and the threads per core of the hosts are not known",
            )
        required.add(names.smt_trait(threads_per_core))
    if dedicated := template.dedicated_cpus(index, threads_per_core or 1):
        resources[names.PCPU] = dedicated
    for cores, rooms in rooms_taken(cell.cores_in_one_cache(threads_per_core or 1)).items():
        resources[names.cache_class(cores)] = rooms
    if (name := memory_class(cell)) and memory_mb:
        resources[name] = memory_mb * 1024 // cell.pages.kib if cell.pages else memory_mb
    if cell.node is not None:
        required.add(names.node_trait(cell.node))
    return CellRequest(f"{GROUP}{index}", resources, frozenset(required))


def extra_specs(
    template: PinningTemplate,
    present: Mapping[str, str],
    *,
    vcpus: int,
    memory_mb: int,
    threads_per_core: int | None = None,
    cpu_policy: NovaCpuPolicy | None = None,
) -> dict[str, str]:
    """The extra specs that make a flavor ask for a template.

    :param present: the flavor's extra specs as they are
    :param vcpus: the flavor's vCPUs
    :param memory_mb: the flavor's memory in MiB
    :param cpu_policy: which CPUs Nova gives the servers at their start, if it lays them out on nodes; by default that
        of the template's vCPUs
    :raises InvalidRequest: if the flavor cannot work with the template: another count of vCPUs, nothing left to take
        from the compute node itself, or a key by which Nova would place vCPUs or memory otherwise
    """
    if vcpus != template.vcpus:
        raise exceptions.InvalidRequest(
            "vcpus",
            f"the flavor has {vcpus} vCPUs and template {template.name!r} has {template.vcpus}; make a flavor of"
            f" {template.vcpus}, or name a template of {vcpus}",
        )
    if present.get("resources:MEMORY_MB") == "0":
        raise exceptions.InvalidRequest(
            "resources:MEMORY_MB",
            "must not be 0: Nova only finds hosts that give something of their own; unset it",
        )
    if template.realtime:
        check_locked(present)
    specs = {TEMPLATE_KEY: template.name, ROOT_VCPU: "0"}
    if numa := _nova_numa(template, memory_mb, cpu_policy):
        specs |= numa.extra_specs(visible=template.guest_numa is GuestNuma.VISIBLE)
    others = {key: value for key, value in present.items() if specs.get(key) != value}
    if template.has_local_devices:
        others[DEVICES_KEY] = LOCAL
    if clash := find_clash(others):
        raise exceptions.InvalidRequest(clash, _why_other(clash, present, specs, template))
    for cell in cell_requests(template, memory_mb, threads_per_core):
        specs |= {f"resources{cell.group}:{name}": str(amount) for name, amount in cell.resources.items()}
        specs |= {f"trait{cell.group}:{trait}": "required" for trait in sorted(cell.required)}
    groups = len(_groups(present, ours=False)) + len(template.cells)
    if groups > 1 and GROUP_POLICY not in present:  # which Placement requires for two groups or more
        # Two cells are never on one node. If Placement knows, it offers no candidate that the filter drops: else it
        # offers a thousand of the 46,656 of six cells on six nodes, and often all are dropped. Groups of devices may
        # share a provider, which would be forbidden too.
        specs[GROUP_POLICY] = "none" if _has_other_groups(present) else "isolate"
    return specs


def _why_other(key: str, present: Mapping[str, str], wanted: Mapping[str, str], template: PinningTemplate) -> str:
    """Why a key of a flavor that has none of its template's keys yet clashes, and what to do."""
    if key not in wanted or present[key] in SIZES_OF_NOVAS_CHOICE:
        return why_clash(key, present).replace("one of them", "it first")
    source = f"template {template.name!r} and the flavor's memory"
    if key == PCI_POLICY_KEY:
        source = f"devices: {LOCAL} of template {template.name!r}"
    return f"is {present[key]}, and {wanted[key]} follows from {source}; unset it first, or change the template"


def _nova_numa(template: PinningTemplate, memory_mb: int, cpu_policy: NovaCpuPolicy | None) -> NovaNuma | None:
    """The NUMA topology that Nova has to make; None if it need not know of the nodes.

    :raises InvalidRequest: if Nova cannot pin the vCPUs as is asked
    """
    is_pinned = all(cell.cpus is not CpuPolicy.SHARED for cell in template.cells)
    if not template.needs_nova_numa:
        if cpu_policy is NovaCpuPolicy.DEDICATED:
            reason = (
                f"cannot be dedicated, for template {template.name!r} has no pages, realtime, devices: local or"
                " guest_numa: visible"
            )
            raise exceptions.InvalidRequest(CPU_POLICY_KEY, reason)
        return None
    if cpu_policy is NovaCpuPolicy.DEDICATED and not is_pinned:
        raise exceptions.InvalidRequest(CPU_POLICY_KEY, "cannot be dedicated, for the template has shared cells")
    if template.realtime and cpu_policy is NovaCpuPolicy.SHARED:
        raise exceptions.InvalidRequest(CPU_POLICY_KEY, "cannot be shared, for the template has realtime")
    policy = cpu_policy or (NovaCpuPolicy.DEDICATED if is_pinned else NovaCpuPolicy.SHARED)
    page_kib = template.pages.kib if template.pages else None
    shares = share_memory(template, memory_mb)
    cells = [GuestCell(cell.vcpus, share) for cell, share in zip(template.cells, shares, strict=True)]
    has_own_emulator = template.realtime is not None and template.emulator is EmulatorPolicy.OWN
    pinned = template.pinned_vcpus if template.floating_vcpus and policy is NovaCpuPolicy.DEDICATED else CpuSet()
    return NovaNuma(
        page_kib,
        policy,
        tuple(cells),
        template.realtime_vcpus,
        has_own_emulator,
        pinned,
        template.has_local_devices,
    )


def owned_keys(present: Mapping[str, str]) -> list[str]:
    """The keys that :func:`extra_specs` has written, so that a flavor can be set again or unset."""
    owned = {TEMPLATE_KEY, STRATEGY_KEY, DEVICES_KEY}
    groups = [key for key in present if key.startswith((f"resources{GROUP}", f"trait{GROUP}"))]
    if TEMPLATE_KEY not in present and not groups:  # flavors of bare metal have resources:VCPU=0 too
        return sorted(owned & present.keys())
    # A flavor whose change was interrupted names no valid template, and may lack some of the keys that belong together.
    is_whole = TEMPLATE_KEY not in present or NAME.fullmatch(present[TEMPLATE_KEY]) is not None
    owned |= find_following(present) if is_whole else set(possible_keys(present))
    if present.get(ROOT_VCPU) == "0":
        owned.add(ROOT_VCPU)
    if present.get(GROUP_POLICY) == "none" and len(_groups(present, ours=False)) < 2:
        owned.add(GROUP_POLICY)
    if (
        present.get(GROUP_POLICY) == "isolate"
        and len(_groups(present, ours=True)) > 1
        and not _has_other_groups(present)
    ):
        owned.add(GROUP_POLICY)
    return sorted(owned & present.keys() | set(groups))


def _groups(present: Mapping[str, str], *, ours: bool) -> set[str]:
    """The granular request groups of a flavor, either KongMing's or all others."""
    found = filter(None, map(_GRANULAR.fullmatch, present))
    return {match[1] for match in found if match[1].startswith(GROUP) is ours}


def _has_other_groups(present: Mapping[str, str]) -> bool:
    """Whether Nova asks Placement for other granular request groups than those of KongMing, by what a flavor says."""
    return bool(_groups(present, ours=False)) or any(key in present for key in _OF_DEVICES)


def check_request(request: PinningRequest) -> None:
    """Refuse a flavor whose groups do not require its template, for its servers could land where it is not offered.

    :raises InvalidRequest: naming the key that is missing
    """
    trait = names.template_trait(request.template)
    for cell in request.cells:
        if trait not in cell.required:
            raise exceptions.InvalidRequest(
                f"trait{cell.group}:{trait}",
                "is missing; write the flavor's keys with"
                f" 'openstack kongming flavor set FLAVOR --template {request.template}'",
            )

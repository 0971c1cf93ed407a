# SPDX-License-Identifier: Apache-2.0
"""What a server's own metadata asks for in place of its template, and whether a template can grant it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.clauses.realtime import find_contention
from kongming_sched.cpuset import CpuSet
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import NAME, CpuPolicy, Override, PinningTemplate, TemplateCell
from kongming_sched.texts.printable import quote

CPUS_KEY = "kongming:cpus"
OLD_CPUS_KEY = "kongming-vcpu-pinning"
"""The key that the first generation of KongMing read, with the meaning of :data:`CPUS_KEY`."""

KEYS = (TEMPLATE_KEY, CPUS_KEY, OLD_CPUS_KEY)
"""The keys of a server's metadata that KongMing reads."""

GRAMMAR = "'5-6,9-11,^10' for all vCPUs alike or '0:5-6;1-3:9' for each"


@dataclass(frozen=True, slots=True)
class VcpuPins:
    """Host CPUs for vCPUs, as metadata names them.

    :ivar key: the key of the metadata
    :ivar groups: vCPUs (None for all) and the host CPUs of each of them
    """

    key: str
    groups: tuple[tuple[CpuSet | None, CpuSet], ...]

    @classmethod
    def parse(cls, text: str, key: str = CPUS_KEY) -> VcpuPins:
        """Read one CPU set for all vCPUs, or ``vCPUs:CPUs`` for each of them with semicolons in between.

        :raises InvalidOverride: naming the part that is wrong
        """
        if ":" not in text:
            return cls(key, ((None, _cpu_set(text, key)),))
        groups: list[tuple[CpuSet | None, CpuSet]] = []
        seen = CpuSet()
        for part in text.split(";"):
            vcpus_text, colon, cpus_text = part.partition(":")
            if not colon:
                raise exceptions.InvalidOverride(
                    key, f"{quote(part.strip())} does not say of which vCPU; write {GRAMMAR}"
                )
            vcpus = _cpu_set(vcpus_text, key)
            if twice := seen & vcpus:
                raise exceptions.InvalidOverride(key, f"vCPU {twice} is given twice")
            seen |= vcpus
            groups.append((vcpus, _cpu_set(cpus_text, key)))
        return cls(key, tuple(groups))

    def of_vcpus(self, count: int) -> tuple[CpuSet, ...]:
        """The host CPUs of each vCPU.

        :param count: how many vCPUs the server has

        :raises InvalidOverride: if a vCPU has none, or one is named that the server does not have
        """
        all_vcpus = CpuSet.of(range(count))
        pins: dict[int, CpuSet] = {}
        for vcpus, cpus in self.groups:
            if vcpus is not None and (unknown := vcpus - all_vcpus):
                raise exceptions.InvalidOverride(self.key, f"the server has no vCPU {unknown}; it has {all_vcpus}")
            pins |= dict.fromkeys(all_vcpus if vcpus is None else vcpus, cpus)
        if missing := all_vcpus - CpuSet.of(pins):
            raise exceptions.InvalidOverride(self.key, f"vCPU {missing} has no host CPUs")
        return tuple(pins[vcpu] for vcpu in range(count))


@dataclass(frozen=True, slots=True)
class ServerOverride:
    """What a server's metadata asks for.

    :ivar template: another template; None for that of its flavor
    :ivar cpus: other host CPUs; None for those of the template
    """

    template: str | None = None
    cpus: VcpuPins | None = None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ServerOverride | None:
        """Read a server's metadata; None if it asks for nothing.

        :raises InvalidOverride: naming the key that is wrong, also if two keys say different things
        """
        template = metadata.get(TEMPLATE_KEY)
        if template is not None and not NAME.fullmatch(template):
            raise exceptions.InvalidOverride(TEMPLATE_KEY, f"{quote(template)} is not a template's name")
        pins = [VcpuPins.parse(metadata[key], key) for key in (CPUS_KEY, OLD_CPUS_KEY) if key in metadata]
        if len(pins) == 2 and pins[0].groups != pins[1].groups:
            raise exceptions.InvalidOverride(OLD_CPUS_KEY, f"says something else than {CPUS_KEY}; unset one of them")
        if template is None and not pins:
            return None
        return cls(template, pins[0] if pins else None)

    @property
    def first_key(self) -> str:
        """The key to name in an error that concerns all of it."""
        return TEMPLATE_KEY if self.template is not None or self.cpus is None else self.cpus.key


def select(metadata: Mapping[str, str]) -> dict[str, str]:
    """The part of a server's metadata that KongMing reads."""
    return {key: metadata[key] for key in KEYS if key in metadata}


def overriding_template(
    template: PinningTemplate, override: ServerOverride, templates: Mapping[str, PinningTemplate]
) -> PinningTemplate:
    """The template that a server has by its metadata: another one, or its flavor's.

    The caller, which knows the claim, has to check that it takes what was claimed.

    :param template: that of the server's flavor
    :param templates: those that there are, by name
    :raises InvalidOverride: if the operator has not opened both templates to servers, or they cannot stand in for
        each other
    """
    if override.template in (None, template.name):
        if template.override is Override.DENIED:
            raise _closed(template, override.first_key)
        return template
    _check_is_open(template, override.first_key)
    other = templates.get(override.template or "")
    if other is None:
        raise exceptions.InvalidOverride(
            TEMPLATE_KEY, f"template {override.template!r} does not exist or is not offered to this host"
        )
    _check_is_open(other, TEMPLATE_KEY)
    if other.vcpus != template.vcpus:
        reason = f"the server has {template.vcpus} vCPUs and template {other.name!r} has {other.vcpus}"
        raise exceptions.InvalidOverride(TEMPLATE_KEY, reason)
    if len(other.cells) != len(template.cells):
        reason = f"the server has {len(template.cells)} cells and template {other.name!r} has {len(other.cells)}"
        raise exceptions.InvalidOverride(TEMPLATE_KEY, reason)
    if other.realtime_vcpus != template.realtime_vcpus:
        running, others = (found or "none" for found in (template.realtime_vcpus, other.realtime_vcpus))
        reason = f"the server's real-time vCPUs are {running}, and those of template {other.name!r} are {others}"
        raise exceptions.InvalidOverride(TEMPLATE_KEY, reason)
    if [cell.memory for cell in other.cells] != [cell.memory for cell in template.cells]:
        raise exceptions.InvalidOverride(
            TEMPLATE_KEY, f"template {other.name!r} takes the memory of other nodes than {template.name!r}"
        )
    return other


def _check_is_open(template: PinningTemplate, key: str) -> None:
    """See that servers may leave a template for another one, or come to it."""
    if template.override is not Override.ALLOWED:
        raise _closed(template, key)


def _closed(template: PinningTemplate, key: str) -> exceptions.InvalidOverride:
    how = "open to the metadata of servers for pins alone" if template.override is Override.PINS else None
    words = how or "not open to the metadata of servers"
    return exceptions.InvalidOverride(key, f"template {template.name!r} is {words} (override: {template.override})")


def assign_cpus(template: PinningTemplate, pins: VcpuPins) -> tuple[CpuSet, ...]:
    """The host CPUs of each vCPU of a server of this template.

    Explicit cells have theirs within those that the template sets aside. Dedicated vCPUs take one CPU each: those that
    name the same set share it out, lowest first. Which CPUs are in a host's pools is for the agent to see.

    :raises InvalidOverride: if the template cannot give that
    """
    wanted = list(pins.of_vcpus(template.vcpus))
    taken = CpuSet()
    for index, cell in enumerate(template.cells):
        if cell.cpus is CpuPolicy.EXPLICIT:
            if outside := CpuSet.union(wanted[vcpu] for vcpu in cell.vcpus) - cell.host_cpus:
                raise exceptions.InvalidOverride(
                    pins.key,
                    f"host CPU {outside} is none of those that template {template.name!r} sets aside for vCPU"
                    f" {cell.vcpus}, which are {cell.host_cpus}",
                )
        elif cell.cpus is CpuPolicy.DEDICATED:
            for vcpu, cpu in _share_out(index, cell, wanted, pins.key):
                if cpu in taken:
                    raise exceptions.InvalidOverride(pins.key, f"host CPU {cpu} is named for two dedicated vCPUs")
                taken |= CpuSet.of([cpu])
                wanted[vcpu] = CpuSet.of([cpu])
    if reason := find_contention(template.realtime_vcpus, dict(enumerate(wanted))):
        raise exceptions.InvalidOverride(pins.key, reason)
    return tuple(wanted)


def _share_out(index: int, cell: TemplateCell, wanted: list[CpuSet], key: str) -> Iterator[tuple[int, int]]:
    by_set: dict[CpuSet, list[int]] = {}
    for vcpu in cell.dedicated_vcpus:
        by_set.setdefault(wanted[vcpu], []).append(vcpu)
    for cpus, vcpus in by_set.items():
        if len(cpus) != len(vcpus):
            raise exceptions.InvalidOverride(
                key,
                f"cell {index} is dedicated, so that each vCPU has one host CPU, and {cpus} is {len(cpus)} for vCPU"
                f" {CpuSet.of(vcpus)}",
            )
        yield from zip(vcpus, cpus, strict=True)


def _cpu_set(text: str, key: str) -> CpuSet:
    try:
        cpus = CpuSet.parse(text)
    except exceptions.InvalidCpuSet as error:
        raise exceptions.InvalidOverride(key, str(error)) from error
    if not cpus:
        raise exceptions.InvalidOverride(key, f"{quote(text)} names no CPU; write {GRAMMAR}")
    return cpus

# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a flavor, and how to correct it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.extra_specs import CLOSED, present_cpu_policy, wanted_extra_specs
from kongming_sched.cloud.nodes import threads_per_core
from kongming_sched.nova_numa.keys import PAGE_SIZE_KEY, PCI_POLICY_KEY
from kongming_sched.placement import flavor as placement_flavor
from kongming_sched.request import GROUP, STRATEGY_KEY, TEMPLATE_KEY, NumaStrategy, PinningRequest, find_clash
from kongming_sched.template import PinningTemplate

_MEMORY = "resources:MEMORY_MB"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with a flavor.

    :ivar remedy: what to do about it, with the command to run
    """

    problem: str
    remedy: str


def is_ours(flavor: Flavor) -> bool:
    """Whether a flavor names a template, or has another key that only KongMing writes."""
    return bool(placement_flavor.owned_keys(flavor.extra_specs))


def find_flaw(flavor: Flavor, template_of: Callable[[str], PinningTemplate]) -> Flaw | None:
    """The first flaw of a flavor; None if it has none, or does not ask for anything of KongMing.

    :param template_of: gives the template of a name, or raises TemplateNotFound or InvalidTraits
    """
    specs, name = flavor.extra_specs, flavor.name
    named = specs.get(TEMPLATE_KEY)
    again = f"openstack kongming flavor set {name} --template {named or 'TEMPLATE'}"
    unset = f"openstack kongming flavor unset {name}"
    if named is None:
        return _flaw_without_template(specs, again, unset)
    if named == CLOSED:
        finish = f"finish it: {again.replace(CLOSED, 'TEMPLATE')}, or {unset}"
        return Flaw("a change of it was interrupted, and its servers get no host until it is finished", finish)
    if specs.get(_MEMORY) == "0":
        problem = f"{_MEMORY} is 0, and Nova only finds hosts that give something of their own"
        return Flaw(problem, f"openstack flavor unset {name} --property {_MEMORY}")
    if clash := find_clash(specs):
        nouns = {PCI_POLICY_KEY: "devices", PAGE_SIZE_KEY: "pages"}
        noun = nouns.get(clash, "NUMA nodes" if clash.startswith("hw:numa") else "CPUs")
        return Flaw(f"{clash} makes Nova choose {noun} itself", f"openstack flavor unset {name} --property {clash}")
    if (strategy := specs.get(STRATEGY_KEY)) is not None and strategy not in list(NumaStrategy):
        problem = f"{STRATEGY_KEY} is {strategy!r}, and none of {', '.join(NumaStrategy)}"
        return Flaw(problem, f"{again} --numa-strategy {NumaStrategy.PACK}")
    try:
        template = template_of(named)
    except exceptions.TemplateNotFound:
        other = f"openstack kongming template create, or name another: {again.replace(named, 'TEMPLATE')}, or {unset}"
        return Flaw(f"there is no template {named!r}", other)
    except exceptions.InvalidTraits as error:
        problem = f"template {named!r} cannot be read: clause {error.clause}"
        return Flaw(problem, f"openstack kongming template set {named} --file FILE")
    return _flaw_of_groups(flavor, template, again)


def _flaw_without_template(specs: Mapping[str, str], again: str, unset: str) -> Flaw | None:
    groups = [key for key in sorted(specs) if key.startswith((f"resources{GROUP}", f"trait{GROUP}"))]
    if not groups:
        return None  # kongming:numa_strategy alone asks for nothing
    return Flaw(f"has {groups[0]} and names no template", f"{again}, or {unset}")


def _flaw_of_groups(flavor: Flavor, template: PinningTemplate, again: str) -> Flaw | None:
    """A flaw in the request groups: something that the flavor takes and its template does not, or the other way."""
    if flavor.vcpus != template.vcpus:
        problem = f"has {flavor.vcpus} vCPUs, and template {template.name!r} has {template.vcpus}"
        return Flaw(problem, f"make a flavor of {template.vcpus} vCPUs, or name a template of {flavor.vcpus}")
    try:
        request = PinningRequest.from_extra_specs(flavor.extra_specs)
        cells = request.cells if request else ()
        threads = threads_per_core(trait for cell in cells for trait in cell.required)
        policy = present_cpu_policy(flavor.extra_specs, template)
        strategy = flavor.extra_specs.get(STRATEGY_KEY)
        wanted = wanted_extra_specs(flavor, template, threads, strategy, cpu_policy=policy)
    except exceptions.InvalidRequest as error:
        lacks = f"lacks {error.key}"
        return Flaw(lacks if error.key.endswith(":*") else f"{error.key}: {error.reason.partition(';')[0]}", again)
    except exceptions.InvalidFlavor as error:
        return Flaw(f"{error.field}: {error.reason.partition(';')[0]}", f"{again} --threads-per-core NUMBER")
    present = {key: flavor.extra_specs[key] for key in placement_flavor.owned_keys(flavor.extra_specs)}
    for key in sorted({*present, *wanted}):
        if present.get(key) != wanted.get(key):
            has, takes = present.get(key, "missing"), wanted.get(key, "nothing of it")
            return Flaw(f"{key} is {has}, and template {template.name!r} takes {takes}", again)
    return None

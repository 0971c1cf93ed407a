# SPDX-License-Identifier: Apache-2.0
"""How a flavor's extra specs change: in steps, each of which leaves a flavor that is valid or gets no server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from kongming_sched import exceptions
from kongming_sched.cloud.compute import ComputeClient, Flavor
from kongming_sched.nova_numa.keys import CPU_POLICY_KEY, DEVICES_KEY, REALTIME_KEY, NovaCpuPolicy
from kongming_sched.placement import flavor as placement_flavor
from kongming_sched.request import STRATEGY_KEY, TEMPLATE_KEY, PinningRequest, find_following
from kongming_sched.template import CpuPolicy, PinningTemplate, ThreadPolicy

CLOSED = "(being changed: run the same command again)"
"""What a flavor names as its template while its other keys are incomplete.

It is not a valid name. So a server of the flavor gets no host, and the scheduler logs this text as the reason, instead
of being placed with a part of its claims.
"""

Step: TypeAlias = Mapping[str, str] | str
"""Extra specs to set, which is one request to Nova, or a key to delete, which is one request for each key."""


def wanted_extra_specs(
    flavor: Flavor,
    template: PinningTemplate,
    threads_per_core: int | None,
    strategy: str | None,
    group_policy: str | None = None,
    cpu_policy: NovaCpuPolicy | None = None,
) -> dict[str, str]:
    """The extra specs of KongMing that a flavor needs to ask for a template, checked as the scheduler reads them.

    :param threads_per_core: of the hosts; only needed for templates that take whole cores
    :param strategy: the NUMA strategy of the flavor, if it is to have one
    :param group_policy: Placement's policy for the flavor's request groups; by default what the flavor has
    :param cpu_policy: which CPUs Nova gives its servers at their start, if it lays them out on nodes; by default that
        of the template's vCPUs
    :raises InvalidFlavor: if the flavor cannot ask for the template, naming the obstacle
    """
    owned = placement_flavor.owned_keys(flavor.extra_specs)
    kept = {key: value for key, value in flavor.extra_specs.items() if key not in owned}
    try:
        if threads_per_core == 1 and any(cell.threads is ThreadPolicy.REQUIRE for cell in template.cells):
            raise exceptions.InvalidRequest("threads per core", "the template takes siblings, and such hosts have none")
        wanted = placement_flavor.extra_specs(
            template,
            kept,
            vcpus=flavor.vcpus,
            memory_mb=flavor.memory_mb,
            threads_per_core=threads_per_core,
            cpu_policy=cpu_policy,
        )
        if strategy is not None:
            wanted[STRATEGY_KEY] = strategy
        wanted |= _group_policy(flavor.extra_specs, wanted | kept, group_policy)
        PinningRequest.from_extra_specs(kept | wanted)
    except exceptions.InvalidRequest as error:
        raise exceptions.InvalidFlavor(flavor.name, template.name, error.key, error.reason) from error
    return wanted


def present_cpu_policy(present: Mapping[str, str], template: PinningTemplate) -> NovaCpuPolicy | None:
    """Which CPUs Nova gives the servers of a flavor of this template; None if the flavor does not say, or cannot."""
    following = find_following(present)
    is_pinned = all(cell.cpus is not CpuPolicy.SHARED for cell in template.cells)
    if present.get(TEMPLATE_KEY) != template.name or not following or not template.needs_nova_numa or not is_pinned:
        return None
    if template.realtime:  # which leaves no choice
        return None
    return NovaCpuPolicy.DEDICATED if CPU_POLICY_KEY in following else NovaCpuPolicy.SHARED


def _group_policy(present: Mapping[str, str], wanted: Mapping[str, str], asked: str | None) -> dict[str, str]:
    """The policy for request groups that was asked for, or else the one that a flavor has; nothing if it needs none.

    :param wanted: the flavor's extra specs with a policy as KongMing chooses it
    :raises InvalidRequest: if a policy was asked for, and the flavor has a single group
    """
    key = placement_flavor.GROUP_POLICY
    if key not in wanted and asked is not None:
        raise exceptions.InvalidRequest(key, "cannot be chosen, for the flavor asks for a single request group")
    if key not in wanted:
        return {}
    policy = asked or present.get(key)
    return {key: policy} if policy is not None and policy != wanted[key] else {}


def steps_to_set(present: Mapping[str, str], wanted: Mapping[str, str]) -> list[Step]:
    """The steps from a flavor's extra specs to the wanted ones; keys that are not KongMing's stay."""
    stale = [key for key in _in_order(placement_flavor.owned_keys(present)) if key not in wanted]
    if stale:
        return [{TEMPLATE_KEY: CLOSED}, *stale, dict(wanted)]
    changed = {key: value for key, value in wanted.items() if present.get(key) != value}
    return [changed] if changed else []


def steps_to_unset(present: Mapping[str, str]) -> list[Step]:
    """The steps from a flavor's extra specs to none of KongMing's."""
    owned = placement_flavor.owned_keys(present)
    others = [key for key in _in_order(owned) if key != TEMPLATE_KEY]
    if TEMPLATE_KEY not in owned or not others:
        return list(owned)
    return [{TEMPLATE_KEY: CLOSED}, *others, TEMPLATE_KEY]


def _in_order(owned: Iterable[str]) -> list[str]:
    """Keys to delete, in an order in which those that are left still show that they are KongMing's.

    A flavor of other servers may lock their memory, too, and may have a policy for devices, so that these keys are
    KongMing's beside that of real time and its own only.
    """
    return sorted(owned, key=lambda key: key in (REALTIME_KEY, DEVICES_KEY))


def carry_out(compute: ComputeClient, flavor: Flavor, steps: Iterable[Step]) -> None:
    """Carry the steps out, with one request each."""
    for step in steps:
        if isinstance(step, str):
            compute.delete_extra_spec(flavor, step)
        else:
            compute.set_extra_specs(flavor, step)

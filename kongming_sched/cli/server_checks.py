# SPDX-License-Identifier: Apache-2.0
"""The nodes of a server, and whether the agent would grant what the server's metadata asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kongming_sched import exceptions
from kongming_sched.cloud.compute import Server
from kongming_sched.cloud.nodes import node_id, threads_per_core
from kongming_sched.override import ServerOverride, assign_cpus, overriding_template
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.overrides import check_same_claim
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import PinningTemplate


def states_of(placement: PlacementClient, server: Server) -> dict[int, NodeState]:
    """The nodes of its host on which a server has a claim, by number."""
    if not server.host:
        return {}
    try:
        states = NodeRegistry(placement, server.host).observe()[2].values()
    except exceptions.ProviderNotFound:
        return {}
    return {node_id(state.name): state for state in states if server.id in state.allocations}


def check_override(
    find_template: Callable[[str], PinningTemplate],
    server: Server,
    metadata: Mapping[str, str],
    states: Mapping[int, NodeState],
    template_now: str | None,
) -> None:
    """Refuse metadata that the agent would refuse, as far as Placement and the templates show it.

    Which CPUs are in a host's pools, only its agent knows.

    :param find_template: gives the template of a name, or raises what is said below
    :param metadata: what the server has, or is to have
    :param states: the nodes on which it has a claim, by number
    :param template_now: the template of its class or else of its flavor; None if it has none
    :raises InvalidOverride: saying what is wrong
    :raises TemplateNotFound: if that template, or the one that its metadata names, does not exist
    :raises InvalidTraits: if one of the two cannot be read
    """
    override = ServerOverride.from_metadata(metadata)
    if override is None:
        return
    if template_now is None:
        reason = f"the flavor of server {server.name!r} names no template, so there is nothing to override"
        raise exceptions.InvalidOverride(override.first_key, reason)
    if override.template is not None and template_now != server.flavor.extra_specs.get(TEMPLATE_KEY):
        reason = f"has no effect, for the operator has given the server template {template_now!r}"
        raise exceptions.InvalidOverride(TEMPLATE_KEY, reason)
    own = find_template(template_now)
    named = override.template if override.template is not None else own.name
    other = own if named == own.name else find_template(named)
    template = overriding_template(own, override, {own.name: own, other.name: other})
    threads = {threads_per_core(state.traits) for state in states.values()} - {None}
    check_same_claim(own, template, max(threads, default=None))  # type: ignore[type-var]  # None is taken out
    for number, state in sorted(states.items()):
        if not {names.template_trait(template.name), names.DISABLED} & state.traits:
            reason = f"node {number} of host {server.host} does not offer template {template.name!r}"
            raise exceptions.InvalidOverride(TEMPLATE_KEY, reason)
    if override.cpus is not None:
        assign_cpus(template, override.cpus)

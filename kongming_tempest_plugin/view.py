# SPDX-License-Identifier: Apache-2.0
"""A server by Nova and by Placement, and where the two disagree. Only :func:`read_view` sends requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.request import CellRequest
from kongming_sched.template import PinningTemplate
from kongming_tempest_plugin.placement import Placement

Resources = Mapping[str, int]


SHARED_STORAGE = {"DISK_GB"}
"""Resources that a server may have of a provider that is not its host's."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The allocation of a server on one provider.

    :ivar root: the id of the provider at the root of the provider's tree
    """

    provider: str
    root: str
    traits: frozenset[str]
    resources: Resources

    @property
    def node(self) -> int | None:
        """The NUMA node that the provider stands for; None if it stands for something else."""
        return next((node for trait in self.traits if (node := names.node_id_of(trait)) is not None), None)


@dataclass(frozen=True, slots=True)
class View:
    """A server at one time.

    :ivar host: the hypervisor that Nova says it is on
    :ivar root: the id of that hypervisor's resource provider; empty if Placement has none of this name
    :ivar claims: what Placement says that the server has
    :ivar left_over: what migrations of the server still have, by migration and provider
    """

    host: str
    root: str
    claims: tuple[Claim, ...]
    left_over: Mapping[str, Mapping[str, Resources]] = field(default_factory=dict)


def read_view(placement: Placement, server: str, host: str, migrations: Iterable[str]) -> View:
    """Read from Placement what a server and its migrations have.

    :param host: the hypervisor that the server is on, by Nova
    :param migrations: ids of the server's migrations, by Nova
    """
    roots = placement.providers(name=host)
    claims = [
        Claim(uuid, provider.root_uuid, placement.traits(uuid), resources)
        for uuid, resources in sorted(placement.claims(server).items())
        for provider in placement.providers(uuid=uuid)
    ]
    left_over = {migration: left for migration in migrations if (left := placement.claims(migration))}
    return View(host, roots[0].uuid if roots else "", tuple(claims), left_over)


def faults(view: View, template: PinningTemplate, memory_mb: int, threads_per_core: int) -> list[str]:
    """Where Nova and Placement do not agree, or the claim is not what the template asks for.

    :param memory_mb: of the server's flavor
    :param threads_per_core: which the flavor's counts are for
    """
    if not view.root:
        return [f"Nova says that it is on {view.host}, of which Placement has no resource provider"]
    found = []
    nodes = []
    for claim in view.claims:
        if claim.root != view.root:
            if claim.resources.keys() - SHARED_STORAGE:
                found.append(f"it is on {view.host} and has {_words(claim.resources)} of another host")
        elif claim.node is None:
            found += _cpu_faults(claim)
        elif claim.provider != names.node_uuid(view.root, claim.node):
            found.append(f"provider {claim.provider} is not node {claim.node} of {view.host}, as its trait says")
        else:
            nodes.append(claim)
    for cell in cell_requests(template, memory_mb, threads_per_core):
        node = next((node for node in nodes if _fits(node, cell)), None)
        if node:
            nodes.remove(node)
        else:
            traits = ", ".join(sorted(cell.required))
            found.append(f"no node of {view.host} with {traits} gives it {_words(cell.resources)}")
    found += [f"node {node.node} of {view.host} gives {_words(node.resources)}, unasked" for node in nodes]
    return found


def _fits(node: Claim, cell: CellRequest) -> bool:
    return node.resources == cell.resources and cell.required <= node.traits


def _cpu_faults(claim: Claim) -> list[str]:
    """A server of a template has its CPUs of nodes alone."""
    cpus = {name: amount for name, amount in claim.resources.items() if name in ("VCPU", "PCPU")}
    return [f"it takes {_words(cpus)} of the compute node itself"] if cpus else []


def leftovers(view: View) -> list[str]:
    """Allocations that migrations of the server still have, in words."""
    return [
        f"migration {migration} still has {_words(resources)} of {provider}"
        for migration, providers in view.left_over.items()
        for provider, resources in providers.items()
    ]


def _words(resources: Resources) -> str:
    return ", ".join(f"{amount} {name}" for name, amount in sorted(resources.items()))

# SPDX-License-Identifier: Apache-2.0
"""The users of a template: the flavors that name it, and the servers whose copy of a flavor names it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.cloud.compute import ComputeClient, Flavor
from kongming_sched.cloud.nodes import threads_per_core
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.request import TEMPLATE_KEY, PinningRequest
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.counted import first

_ANY_THREADS = (1, 2, 4, 8)
_ANY_MEMORY_MB = 1 << 30
"""So much that cells with different shares of it get different amounts."""


@dataclass(frozen=True, slots=True)
class User:
    """A flavor or a server that names a template.

    :ivar title: as in ``flavor gold.large`` or ``server web (9a1f...)``
    """

    title: str
    template: str
    flavor: Flavor


def users_of(compute: ComputeClient, templates: Collection[str]) -> list[User]:
    """All flavors, private ones included, and all servers of all projects that name one of these templates.

    Nova cannot filter by extra specs, so this reads all flavors and all servers, 1000 to a request.

    :raises ComputeError: if Nova does not answer
    """
    try:
        flavors = [(f"flavor {flavor.name}", flavor) for flavor in compute.flavors()]
        servers = [(f"server {server.name} ({server.id})", server.flavor) for server in compute.servers()]
    except exceptions.ComputeError as error:
        raise exceptions.ComputeError(f"list the users of {', '.join(sorted(templates))}", error.reason) from error
    return [
        User(title, flavor.extra_specs[TEMPLATE_KEY], flavor)
        for title, flavor in flavors + servers
        if flavor.extra_specs.get(TEMPLATE_KEY) in templates
    ]


def describe(users: Iterable[User]) -> str:
    """The first users by name, and the number of the others."""
    return first([user.title for user in users])


def has_same_demand(old: PinningTemplate, new: PinningTemplate) -> bool:
    """Whether servers take the same of the same nodes, and see the same of them, by both templates, on any host."""
    return _of_nova(old) == _of_nova(new) and all(
        cell_requests(old, _ANY_MEMORY_MB, threads) == cell_requests(new, _ANY_MEMORY_MB, threads)
        for threads in _ANY_THREADS
    )


def _of_nova(template: PinningTemplate) -> tuple[object, ...]:
    """What Nova, and not the agent, gives a server, beside what it claims of a node."""
    floating = template.floating_vcpus if template.needs_nova_numa else None
    return template.vcpus, template.guest_numa, template.realtime_vcpus, floating, template.has_local_devices


def already_asks_for(flavor: Flavor, template: PinningTemplate) -> bool:
    """Whether a flavor's extra specs take what the template takes, and ask Nova for the same. They may require more."""
    try:
        request = PinningRequest.from_extra_specs(flavor.extra_specs)
        if request is None or flavor.vcpus != template.vcpus or len(request.cells) != len(template.cells):
            return False
        if (numa := request.nova_numa) and numa.pinned and numa.pinned != template.pinned_vcpus:
            return False
        if (numa.has_local_devices if numa else False) is not template.has_local_devices:
            return False
        if (numa.realtime if numa else CpuSet()) != template.realtime_vcpus:
            return False
        threads = threads_per_core(trait for cell in request.cells for trait in cell.required)
        wanted = cell_requests(template, flavor.memory_mb, threads)
    except exceptions.InvalidRequest:
        return False
    return all(
        cell.resources == want.resources and cell.required >= want.required
        for cell, want in zip(request.cells, wanted, strict=True)
    )

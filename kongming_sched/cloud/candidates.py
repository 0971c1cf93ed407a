# SPDX-License-Identifier: Apache-2.0
"""How many candidates Placement makes of a server of several cells, and which limits they meet. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from kongming_sched.cloud.capacity import HostRoom
from kongming_sched.cloud.compute import Flavor
from kongming_sched.placement.flavor import GROUP_POLICY
from kongming_sched.request import TEMPLATE_KEY, PinningRequest
from kongming_sched.template import PinningTemplate

ASKED_FOR = 1000
"""How many Nova asks for unless ``[scheduler] max_placement_results`` says otherwise."""

SLOW = 10_000
"""From so many ways on Placement takes a second or more for a request, also if it then drops most of them."""


def most_candidates(
    nodes_by_host: Mapping[str, int], templates: Iterable[PinningTemplate], flavors: Collection[Flavor] | None
) -> int:
    """How many candidates a server may have on all hosts together.

    With the group policy ``isolate`` these are the ways to put each cell on another node, and else also those with two
    cells on one node, which a filter drops.

    :param nodes_by_host: how many NUMA nodes each host has
    :param flavors: None if they are not known: then any template may have one without ``isolate``
    """
    kinds = {(len(template.cells), _is_isolated(template, flavors)) for template in templates} or {(1, True)}
    return max(
        sum(math.perm(nodes, cells) if is_isolated else nodes**cells for nodes in nodes_by_host.values())
        for cells, is_isolated in kinds
    )


def _is_isolated(template: PinningTemplate, flavors: Collection[Flavor] | None) -> bool:
    if flavors is None:
        return False
    mine = [flavor for flavor in flavors if flavor.extra_specs.get(TEMPLATE_KEY) == template.name]
    return all(flavor.extra_specs.get(GROUP_POLICY) == "isolate" for flavor in mine)


def find_limit(flavor: Flavor, request: PinningRequest, hosts: Iterable[HostRoom]) -> str | None:
    """What many candidates of a flavor on one host come to, and what to do about it; None if there are few."""
    ways, host = max(
        ((math.prod(_fitting(host, request)), host.name) for host in hosts), default=(0, ""), key=lambda item: item[0]
    )
    cells = len(request.cells)
    if flavor.extra_specs.get(GROUP_POLICY) != "isolate" and cells > 1 and ways > ASKED_FOR:
        return (
            f"Placement makes {ways} candidates of the {cells} cells on host {host} alone, most of them with two cells"
            " on one node, and hands over no more than the lower one of Nova's [scheduler] max_placement_results"
            f" ({ASKED_FOR} by default) and its own [placement] max_allocation_candidates: a server may find no host"
            f" although it fits; mend it with: openstack kongming flavor set {flavor.name} --template"
            f" {request.template} --group-policy isolate"
        )
    if cells > 1 and ways >= SLOW:
        return (
            f"Placement tries {ways} ways to place the {cells} cells on host {host} alone, which takes it seconds for"
            " each server; a template whose cells name their nodes (node: 0) has one way"
        )
    return None


def _fitting(host: HostRoom, request: PinningRequest) -> list[int]:
    """For each cell on how many nodes of a host there is room for it."""
    return [sum(room.count(cell) > 0 for room in host.nodes.values()) for cell in request.cells]

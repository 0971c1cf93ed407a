# SPDX-License-Identifier: Apache-2.0
"""Markers: physical networks that exist in nova.conf alone, one near each NUMA node of a host and near no other."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping

from kongming_sched.texts.counted import first
from kongming_sched.texts.whole_number import NODE_IDS, find_whole_number

_PREFIX = "kongming_numa"


@functools.cache  # asked for every node of every host
def marker(node_id: int) -> str:
    """The name of the physical network that marks a NUMA node."""
    return f"{_PREFIX}{node_id}"


def node_of_marker(physnet: str) -> int | None:
    """The NUMA node that a physical network marks; None for any other network."""
    number = physnet.removeprefix(_PREFIX)
    return find_whole_number(number, NODE_IDS) if physnet.startswith(_PREFIX) else None


def markers_of(node_ids: Collection[int]) -> dict[str, tuple[int, ...]]:
    """The markers that a host needs, each with the node that it is near."""
    return {marker(node): (node,) for node in sorted(node_ids)}


def marker_lines(markers: Mapping[str, tuple[int, ...]], physnets: Iterable[str] = ()) -> list[str]:
    """The lines of nova.conf that mark the nodes of a host.

    :param markers: as :func:`markers_of` gives them
    :param physnets: those that are there already: of several files the last one's list holds
    """
    others = [name for name in physnets if node_of_marker(name) is None]
    lines = ["[neutron]", f"physnets = {','.join([*others, *markers])}"]
    for name, nodes in markers.items():
        lines += [f"[neutron_physnet_{name}]", f"numa_nodes = {nodes[0]}"]
    return lines


def why_not_led(node_ids: Collection[int], configured: Mapping[str, tuple[int, ...]]) -> str:
    """What keeps Nova from being led to the nodes of a host; empty if nothing does.

    :param configured: the markers in nova.conf, each with the nodes that it is near
    """
    needed = markers_of(node_ids)
    if configured == needed:
        return ""
    remedy = "'kongming-agent --check' on the host prints the lines that its nova.conf needs"
    if foreign := sorted(configured.keys() - needed):
        return f"nova.conf names {first(foreign)} in [neutron] physnets, and the host has no such node; {remedy}"
    wrong = sorted(name for name, nodes in needed.items() if configured.get(name) != nodes)
    return f"nova.conf lacks {first(wrong)}, by which Nova is led to the nodes of such servers; {remedy}"

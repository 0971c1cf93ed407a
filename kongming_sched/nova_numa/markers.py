# SPDX-License-Identifier: Apache-2.0
"""Markers: physical networks that exist in nova.conf alone, one near each NUMA node of a host and near no other."""

from __future__ import annotations

import functools

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

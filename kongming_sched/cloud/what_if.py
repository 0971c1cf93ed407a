# SPDX-License-Identifier: Apache-2.0
"""Which servers of a mix would get a host, on the hosts that there are, or that there could be. Pure and deterministic.

Servers are placed one after the other by the very code by which KongmingNumaFilter and KongmingPackingWeigher choose.
Nova's own weighers, groups and zones are not known here; where they would decide, the first host by name is taken.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kongming_sched.cloud.capacity import DISABLED, HostRoom, NodeRoom
from kongming_sched.request import NumaStrategy, PinningRequest
from kongming_sched.scheduler.ordering import Candidate, HostUse, hash_fraction, order, stranded

MAX_CANDIDATES = 1000
"""Of how many ways to place a server on a host the best is taken; as many as Nova asks Placement for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many servers of a flavor.

    :ivar vcpus: of one server
    :ivar of_host: what one takes of the compute node itself, by resource class
    :ivar strategy: by which a node is chosen
    """

    flavor: str
    vcpus: int
    servers: int
    request: PinningRequest
    of_host: Mapping[str, int]
    strategy: NumaStrategy


@dataclass(frozen=True, slots=True)
class _Choice:
    """The best place for a server on one host.

    :ivar left: what stays free on its nodes; hosts where that is least are taken first
    """

    left: float
    nodes: tuple[int, ...]


def arrivals(wanted: Sequence[Wanted]) -> Iterator[Wanted]:
    """One for each server, all flavors in turn in proportion to their numbers."""
    places = [
        ((number + 0.5) / item.servers, index) for index, item in enumerate(wanted) for number in range(item.servers)
    ]
    return (wanted[index] for _, index in sorted(places))


def place(hosts: Sequence[HostRoom], wanted: Sequence[Wanted]) -> dict[str, dict[str, int]]:
    """How many servers each host gets, by flavor and name of host; what gets no host is in none.

    :param hosts: sorted by name
    """
    now = {host.name: host for host in hosts if not host.is_disabled}
    best: dict[str, dict[str, _Choice]] = {
        item.flavor: {name: choice for name, host in now.items() if (choice := choose(host, item))} for item in wanted
    }
    placed: dict[str, dict[str, int]] = {item.flavor: {} for item in wanted}
    for number, item in enumerate(arrivals(wanted)):
        choices = best[item.flavor]
        if not choices:
            continue
        name = _host_of(choices, item.strategy, f"{item.flavor}/{number}")
        now[name] = take(now[name], item, choices[name].nodes)
        placed[item.flavor][name] = placed[item.flavor].get(name, 0) + 1
        for other in wanted:  # all that was known of this host is to be found anew
            choice = choose(now[name], other)
            if choice is None:
                best[other.flavor].pop(name, None)
            else:
                best[other.flavor][name] = choice
    return placed


def _host_of(choices: Mapping[str, _Choice], strategy: NumaStrategy, server_id: str) -> str:
    """The host that the packing weigher prefers."""
    if strategy is NumaStrategy.SCATTER:
        return max(choices, key=lambda name: hash_fraction(server_id, name))
    return min(choices, key=lambda name: (choices[name].left, name))


def choose(host: HostRoom, wanted: Wanted) -> _Choice | None:
    """Where a server would be placed on a host; None if it does not fit."""
    if host.lacking(wanted.of_host) is not None:
        return None
    found = itertools.islice(_assignments(host.nodes, wanted.request), MAX_CANDIDATES)
    candidates = [Candidate(position, nodes) for position, nodes in enumerate(found)]
    if not candidates:
        return None
    room = HostUse({number: node.free for number, node in host.nodes.items()})
    first = order(candidates, wanted.request, wanted.strategy, wanted.flavor, room)[0]
    return _Choice(stranded(first, wanted.request, room) or 0, first.nodes)


def _assignments(nodes: Mapping[int, NodeRoom], request: PinningRequest) -> Iterator[tuple[int, ...]]:
    """All ways to put each cell on a node of its own where it fits."""
    fitting = [[number for number, node in nodes.items() if node.count(cell)] for cell in request.cells]

    def extend(taken: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(taken) == len(fitting):
            yield taken
            return
        for number in fitting[len(taken)]:
            if number not in taken:
                yield from extend((*taken, number))

    return extend(())


def take(host: HostRoom, wanted: Wanted, nodes: Sequence[int]) -> HostRoom:
    """The host after a server has been placed on these nodes, one for each cell."""
    rooms = dict(host.nodes)
    for number, cell in zip(nodes, wanted.request.cells, strict=True):
        rooms[number] = dataclasses.replace(rooms[number], free=_less(rooms[number].free, cell.resources))
    return dataclasses.replace(host, free=_less(host.free, wanted.of_host), nodes=rooms)


def _less(free: Mapping[str, int], taken: Mapping[str, int]) -> dict[str, int]:
    # What a host does not have itself it gets from a sharing provider.
    return {name: amount - taken.get(name, 0) for name, amount in free.items()}


def like(host: HostRoom, names: Collection[str]) -> HostRoom:
    """Another host like this one, with nothing on it, and with its compute service enabled.

    :param names: of all hosts that there are
    """
    name = next(name for number in itertools.count(1) if (name := f"{host.name}+{number}") not in names)
    nodes = {number: dataclasses.replace(node, free=node.capacity) for number, node in host.nodes.items()}
    return dataclasses.replace(
        host, name=name, uuid=name, free=host.capacity, traits=host.traits - {DISABLED}, nodes=nodes
    )

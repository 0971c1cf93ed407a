# SPDX-License-Identifier: Apache-2.0
"""What a look saw and what it left, as values for those who watch the agent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest, Threads
from kongming_sched.agent.model.view import GuestLayout, units_of
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredTree, NodeState

POOLS = {"dedicated": names.PCPU, "shared": names.VCPU}
"""The pools that Placement counts, and the resource class of each."""


class Reason(StrEnum):
    """What kind of thing is wrong: few words, for those who count."""

    PLACEMENT = "placement"
    """Placement does not answer, or refuses what the agent writes; the guests keep their pins."""
    TEMPLATE = "template"
    """The traits of a template's provider are not exactly one template."""
    DOMAIN = "domain"
    """The XML of a guest, or its flavor in it, cannot be read."""
    NO_PLACE = "no_place"
    """A guest cannot be as its template says: no claim here, no such template, no room."""
    MEMORY = "memory"
    """Pages of a guest are on other NUMA nodes than its memory is bound to."""
    UNMANAGED = "unmanaged"
    """A guest without a template is on the dedicated pool, and cannot be kept off it."""
    REFUSED = "refused"
    """libvirt or the kernel refused to change a guest; it is tried again after a while."""
    METADATA = "metadata"
    """What a server's own metadata asks for cannot be, or is not open to it."""
    WAITING = "waiting"
    """A guest waits for CPUs on which somebody is who cannot be moved now."""
    BUSY = "busy"
    """A guest migrates or is being saved, and is pinned when that is over."""
    DEFINITION = "definition"
    """Another host's pins could not be taken out of a guest's persistent definition."""
    LIBVIRT = "libvirt"
    """libvirt does not answer."""
    HOST = "host"
    """The description of the host's CPUs cannot be used."""
    CONFIGURATION = "configuration"
    """The options cannot work on this host any more, or a file of the run directory cannot be read."""
    AGENT = "agent"
    """A look at the host failed for a reason that the agent does not know; its log has the traceback."""
    TRIGGER = "trigger"
    """Something that wakes the agent does not work: a broker, or Nova's API."""
    OTHER = "other"
    """Anything else; the log says it."""


@dataclass(frozen=True, slots=True)
class Seats:
    """Every thread of the running guests of templates, before and after what the look did.

    :ivar servers: server id to the server's name
    :ivar starts: server id to libvirt's number of this run of the guest, which a new start changes
    """

    servers: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, str] = field(default_factory=dict)
    before: tuple[Unit, ...] = ()
    after: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How full a pool of a node is in Placement: dedicated in host CPUs, shared in vCPUs."""

    node_id: int
    pool: str
    capacity: int
    used: int

    @property
    def free(self) -> int:
        """What is left; less than nothing does not count, as when a CPU goes offline."""
        return max(self.capacity - self.used, 0)


def seats(
    guests: Sequence[Guest], layouts: Mapping[str, GuestLayout], done: Iterable[Action], seen: Mapping[str, Threads]
) -> Seats:
    """Where the threads of these guests were and are: by the kernel where it was asked again, else by what was done.

    :param layouts: server id to where its threads should be
    :param seen: server id to the threads of guests that the kernel was asked for again
    """
    before = tuple(units_of(guests, layouts))
    moved = {_key(action): action.cpus for action in done if action.is_pin}
    for uuid, threads in seen.items():
        moved |= {(uuid, Kind.VCPU, vcpu): cpus for vcpu, cpus in threads.vcpus.items()}
        moved |= {(uuid, Kind.IOTHREAD, number): cpus for number, cpus in threads.iothreads.items()}
        moved[uuid, Kind.EMULATOR, 0] = threads.emulator
    after = tuple(replace(unit, current=moved.get(_key(unit), unit.current)) for unit in before)
    return Seats(
        {guest.uuid: guest.identity.server for guest in guests},
        {guest.uuid: guest.identity.start for guest in guests},
        before,
        after,
    )


def pool_use(tree: DesiredTree, states: Mapping[str, NodeState]) -> tuple[PoolUse, ...]:
    """How full the pools of a host's nodes are.

    :param states: the node providers as they were seen, for what is allocated
    """
    use = []
    for node in tree.nodes:
        node_id = next((id for trait in node.traits if (id := names.node_id_of(trait)) is not None), None)
        for pool, resource_class in POOLS.items():
            if node_id is not None and resource_class in node.inventories:
                state = states.get(node.uuid)
                used = state.used(resource_class) if state else 0
                use.append(PoolUse(node_id, pool, node.inventories[resource_class].capacity, used))
    return tuple(use)


def _key(item: Action | Unit) -> tuple[str, Kind, int]:
    return item.guest, item.kind, item.index


@dataclass(frozen=True, slots=True)
class Astray:
    """A thread that somebody or something moved since the agent saw it where it should be."""

    guest: str
    server: str
    kind: Kind
    index: int
    was: CpuSet
    found: CpuSet

    def __str__(self) -> str:
        what = str(self.kind) if self.kind is Kind.EMULATOR else f"{self.kind} {self.index}"
        return f"{what} was moved from CPU {self.was} to {self.found}"


class AstrayThreads:
    """Tells threads that went astray from those that have not been pinned yet, look by look."""

    def __init__(self) -> None:
        self._right: dict[tuple[str, Kind, int], tuple[str, CpuSet]] = {}
        self._open: set[tuple[str, Kind, int]] = set()

    def follow(self, seats: Seats) -> tuple[list[Astray], int]:
        """The threads that went astray since the last look, and how many of all that ever did are right again now.

        A guest that was started anew is not astray, and neither is a thread that is meant to be where it was moved to.
        """
        found = []
        for unit in seats.before:
            start, was = self._right.get(_key(unit), ("", unit.current))
            is_same_run = start == seats.starts.get(unit.guest)
            if is_same_run and unit.current not in (was, unit.target):
                server = seats.servers[unit.guest]
                found.append(Astray(unit.guest, server, unit.kind, unit.index, was, unit.current))
        self._open |= {(astray.guest, astray.kind, astray.index) for astray in found}
        self._right = {
            _key(unit): (seats.starts.get(unit.guest, ""), unit.current)
            for unit in seats.after
            if unit.current == unit.target
        }
        repaired = self._open & self._right.keys()
        self._open = self._open & {_key(unit) for unit in seats.after} - repaired
        return found, len(repaired)

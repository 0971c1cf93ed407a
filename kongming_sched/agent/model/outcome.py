# SPDX-License-Identifier: Apache-2.0
"""What a reconcile pass found and did, as values for telemetry. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest, Threads
from kongming_sched.agent.model.view import GuestLayout, units_of
from kongming_sched.compat import StrEnum
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredTree, NodeState

POOLS = {"dedicated": names.PCPU, "shared": names.VCPU}
"""The pools that Placement counts, and the resource class of each."""


class Reason(StrEnum):
    """The kind of a problem, as metrics count it."""

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
class Pins:
    """Every thread of the running guests of templates, before and after what a reconcile pass did.

    :ivar servers: server id to the server's name
    :ivar starts: server id to libvirt's number of this run of the guest, which a new start changes
    """

    servers: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, str] = field(default_factory=dict)
    before: tuple[Unit, ...] = ()
    after: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """Something of a guest that the agent had left right, and that something else has changed since.

    :ivar server: the guest, as people know it
    :ivar kind: what it is of the guest
    :ivar what: the same in words, as in "vCPU 0" or "memory"
    :ivar was: where the agent left it, or what its value was
    :ivar found: where it was found
    :ivar wanted: where it should be now; the template may have changed meanwhile
    """

    server: str
    kind: Kind
    what: str
    was: str
    found: str
    wanted: str

    @property
    def is_thread(self) -> bool:
        """True for a vCPU, the emulator or an I/O thread."""
        return self.kind in (Kind.VCPU, Kind.EMULATOR, Kind.IOTHREAD)

    def __str__(self) -> str:
        if self.was == self.wanted:
            return f"{self.what} is on {self.found} and should be on {self.wanted}; it is put back"
        return (
            f"{self.what} was moved from {self.was} to {self.found} and should be on {self.wanted} now; it is put there"
        )


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a reconcile pass found of drift.

    :ivar found: what has drifted since the last pass
    :ivar repaired: how many threads that had drifted, now or earlier, are right again
    """

    found: tuple[Drift, ...] = ()
    repaired: int = 0


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


def pins_of(
    guests: Sequence[Guest], layouts: Mapping[str, GuestLayout], done: Iterable[Action], seen: Mapping[str, Threads]
) -> Pins:
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
    return Pins(
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

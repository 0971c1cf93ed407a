# SPDX-License-Identifier: Apache-2.0
"""A host as it was observed, and how it and its guests should be, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from kongming_sched.agent.model.actions import Action, Kind, ThreadKey, Unit
from kongming_sched.agent.model.guest import Guest, ObservedGuest, RunningGuest
from kongming_sched.agent.model.problem import Problem, Reason
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredTree, NodeState
from kongming_sched.pools import HostCpus, HostPools
from kongming_sched.template import PinningTemplate
from kongming_sched.topology import HostTopology


@dataclass(frozen=True, slots=True)
class MemoryElsewhere:
    """A guest whose vCPUs have to follow its memory.

    :ivar claimed: the host NUMA node that its allocation names
    :ivar bound: the node that its memory is on
    :ivar obstacle: why its claim cannot be moved there; empty if it can
    """

    claimed: int
    bound: int
    obstacle: str


@dataclass(frozen=True, slots=True)
class RunningGuests:
    """What runs on a host by libvirt and the kernel.

    :ivar managed: the guests of templates
    :ivar unmanaged: those without a template
    :ivar unread: those of which that is not known now, because libvirt, the kernel or their flavor cannot be read
    :ivar problems: why these cannot be read
    """

    managed: tuple[Guest, ...]
    unmanaged: tuple[RunningGuest, ...]
    unread: tuple[ObservedGuest, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class OverrideRequest:
    """What a server's metadata asks for.

    :ivar metadata: its keys that mean something here
    :ivar granted: the last that it was given, which it keeps while what it asks for cannot be
    """

    metadata: Mapping[str, str]
    granted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostView:
    """Everything that was observed of a host at one time.

    :ivar root_uuid: the compute node's provider
    :ivar states: this host's node providers, by provider id
    :ivar templates: those that are offered to this host, by name
    :ivar default_shares: the kernel's cpu shares of a guest for which none are set (1024 or, on cgroup v2, 100)
    :ivar immovable: server ids of guests that cannot be changed now; the others find their places round them
    :ivar overrides: server id to what its own metadata asks for
    :ivar assigned: server id to the layout that it was given before, wherever its threads are by now
    :ivar released: those of the immovable guests that an administrator has taken over, which is no problem
    :ivar unread: guests that cannot be read now; they keep the CPUs on which they are
    :ivar starting: guests that start on CPUs which Nova has chosen; these are kept for them
    """

    cpus: HostCpus
    root_uuid: str
    root_name: str
    states: Mapping[str, NodeState]
    templates: Mapping[str, PinningTemplate]
    guests: tuple[Guest, ...]
    default_shares: int = 1024
    immovable: frozenset[str] = frozenset()
    overrides: Mapping[str, OverrideRequest] = field(default_factory=dict)
    assigned: Mapping[str, GuestLayout] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    unread: tuple[ObservedGuest, ...] = ()
    starting: tuple[ObservedGuest, ...] = ()

    @property
    def topology(self) -> HostTopology:
        """The host's NUMA nodes and cores."""
        return self.cpus.topology

    @property
    def pools(self) -> HostPools:
        """What the options make of its CPUs."""
        return self.cpus.pools

    def node_uuids(self) -> dict[int, str]:
        """Host NUMA node to the id of its provider, be it there or not."""
        return {node.id: names.node_uuid(self.root_uuid, node.id) for node in self.topology.nodes}

    def states_by_node(self) -> dict[int, NodeState]:
        """Host NUMA node to its provider, of those that Placement has."""
        return {node: self.states[uuid] for node, uuid in self.node_uuids().items() if uuid in self.states}


@dataclass(frozen=True, slots=True)
class GuestLayout:
    """How a guest should be.

    :ivar vcpus: the host CPUs of each vCPU
    :ivar memory_nodes: host NUMA nodes for its memory; empty if that is to stay as it is
    :ivar scheduler: libvirt's scheduler parameters
    :ivar quotas: the quota of each vCPU, if the template has one for single vCPUs; ``scheduler`` then has none
    :ivar realtime: the priority of each vCPU that runs in real time
    """

    vcpus: tuple[CpuSet, ...]
    emulator: CpuSet
    memory_nodes: CpuSet = field(default_factory=CpuSet)
    scheduler: Mapping[str, int] = field(default_factory=dict)
    quotas: Mapping[int, int] = field(default_factory=dict)
    realtime: Mapping[int, int] = field(default_factory=dict)

    def with_pin(self, pin: Action) -> GuestLayout:
        """This layout with a thread on other CPUs; I/O threads go with the emulator."""
        if pin.kind is Kind.VCPU and pin.index < len(self.vcpus):
            vcpus = (*self.vcpus[: pin.index], pin.cpus, *self.vcpus[pin.index + 1 :])
            return replace(self, vcpus=vcpus)
        return replace(self, emulator=pin.cpus) if pin.kind is Kind.EMULATOR else self

    @property
    def cpus(self) -> CpuSet:
        """All host CPUs on which one of its threads should be."""
        return CpuSet.union([*self.vcpus, self.emulator])

    def affinity(self, thread: ThreadKey, current: CpuSet) -> CpuSet:
        """Where a thread should be.

        :param current: where it is; a vCPU that the layout does not know, because it was added meanwhile, stays there
        """
        if thread.kind is not Kind.VCPU:
            return self.emulator
        return self.vcpus[thread.number] if thread.number < len(self.vcpus) else current


@dataclass(frozen=True, slots=True)
class HostLayout:
    """How a host should be.

    :ivar guests: server id to layout
    :ivar problems: server id to why a guest is not as its template, or its own metadata, says
    :ivar claims: server id to the node of each cell, of those whose claim is here
    :ivar granted: server id to the metadata by which it is other than its flavor says
    :ivar memory_elsewhere: server id to where the claim of a guest has to go, so that its vCPUs get to its memory
    """

    tree: DesiredTree
    guests: Mapping[str, GuestLayout]
    problems: Mapping[str, Problem]
    claims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    granted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    memory_elsewhere: Mapping[str, MemoryElsewhere] = field(default_factory=dict)

    @property
    def unplaced(self) -> frozenset[str]:
        """Server ids of the guests that are not as their template says, whatever their metadata asks for."""
        return frozenset(uuid for uuid, problem in self.problems.items() if problem.reason is not Reason.METADATA)


def units_of(
    guests: Iterable[ObservedGuest], layouts: Mapping[str, GuestLayout], immovable: Set[str] = frozenset()
) -> list[Unit]:
    """Every thread of every guest with where it is and where it should be.

    :param immovable: server ids of guests that stay as they are
    """
    units = []
    for guest in sorted(guests, key=lambda guest: guest.uuid):
        uuid = guest.uuid
        is_fixed, layout = uuid in immovable, layouts[uuid]
        for thread, current in guest.threads.by_key().items():
            target = current if is_fixed else layout.affinity(thread, current)
            units.append(Unit(uuid, *thread, current, target, is_fixed))
    return units

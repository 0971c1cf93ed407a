# SPDX-License-Identifier: Apache-2.0
"""What a reconcile pass found and did, as values for telemetry. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kongming_sched.agent.model.actions import Action, Kind, Unit
from kongming_sched.agent.model.guest import Guest, Threads
from kongming_sched.agent.model.problem import Problem, Reason, Subject
from kongming_sched.agent.model.view import GuestLayout, MemoryElsewhere, units_of
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredTree, NodeState, Refusal
from kongming_sched.template import PinningTemplate

POOLS = {"dedicated": names.PCPU, "shared": names.VCPU}
"""The pools that Placement counts, and the resource class of each."""


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

    :ivar kind: what it is of the guest
    :ivar what: the same in words, as in "vCPU 0" or "memory"
    :ivar was: where the agent left it, or what its value was
    :ivar found: where it was found
    :ivar wanted: where it should be now; the template may have changed meanwhile
    """

    server: Subject
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
    moved = {action.key: action.cpus for action in done if action.is_pin}
    for uuid, threads in seen.items():
        moved |= {(uuid, *key): cpus for key, cpus in threads.by_key().items()}
    after = tuple(replace(unit, current=moved.get(unit.key, unit.current)) for unit in before)
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


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a hook.

    :ivar server: the guest's name and id; empty if they cannot be read
    :ivar threads: the host CPUs of each thread; None if the agent knows none
    :ivar memory_nodes: host NUMA nodes to bind its memory to; empty if that is to stay as it is
    :ivar reason: why it knows none, or why they are not those of the guest's template
    """

    server: str
    threads: Threads | None
    memory_nodes: CpuSet = field(default_factory=CpuSet)
    reason: str = ""

    @property
    def pins(self) -> dict[str, object] | None:
        """The pins as the hook reads them."""
        if self.threads is None:
            return None
        return {
            "vcpupin": {str(vcpu): str(cpus) for vcpu, cpus in self.threads.vcpus.items()},
            "emulatorpin": str(self.threads.emulator),
            "iothreadpin": {str(number): str(cpus) for number, cpus in self.threads.iothreads.items()},
            "memory": str(self.memory_nodes),
        }

    def __str__(self) -> str:
        guest = f"server {self.server}" if self.server else "a guest"
        if self.threads is None:
            return f"{guest} comes without pins: {self.reason}"
        places = [f"{thread} on CPU {cpus}" for thread, cpus in self.threads.by_key().items()]
        places += [f"memory on node {self.memory_nodes}"] * bool(self.memory_nodes)
        return f"{guest} comes with {', '.join(places)}{f' ({self.reason})' * bool(self.reason)}"


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """The answer to a hook that asks for a guest which is about to start.

    :ivar server: the guest's name and id; empty if they cannot be read
    :ivar cpus: of the dedicated pool, to which its threads are pinned
    :ivar refusal: why it cannot start on them; empty if they are clear, and kept for it
    :ivar is_transient: whether asking again soon may help
    """

    server: str
    cpus: CpuSet = field(default_factory=CpuSet)
    refusal: str = ""
    is_transient: bool = False

    def as_json(self) -> dict[str, object]:
        """The answer as the hook reads it."""
        return {"running": True, "clear": not self.refusal, "reason": self.refusal, "retry": self.is_transient}

    def __str__(self) -> str:
        guest = f"server {self.server}" if self.server else "a guest"
        if self.refusal:
            return f"{guest} cannot start on CPU {self.cpus}: {self.refusal}"
        return f"{guest} starts on CPU {self.cpus}, where no other server is"


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """What a pass found and changed in Placement.

    :ivar changes: a line for each change
    :ivar refusals: templates that this host's nodes do not offer
    :ivar use: how full the pools of the nodes are
    """

    changes: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    use: tuple[PoolUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Basis:
    """On what the layout of a guest is based.

    :ivar start: libvirt's number of this run of the guest
    :ivar name: of its template
    :ivar template: what that template says at the time; None if the host is offered none of that name
    :ivar version: of the template in Placement
    :ivar metadata: that by which it is other than its flavor says
    :ivar period: the one of the template's hours that holds, in words; empty if none does
    :ivar flavor_template: that its flavor names; empty if that names none
    :ivar request: the beginning of the request id of the command that gave it this template; empty if that is not known
    """

    start: str
    name: str
    template: PinningTemplate | None
    version: int
    metadata: Mapping[str, str]
    period: str = ""
    request: str = ""
    flavor_template: str = ""

    def __str__(self) -> str:
        version = "" if self.template is None else f", version {self.version}"
        period = f", hours {self.period}" * bool(self.period)
        by = f", by request {self.request}" * bool(self.request)
        metadata = ", ".join(f"{key}={value}" for key, value in sorted(self.metadata.items()))
        return f"template {self.name}{version}{period}{f', metadata {metadata}' * bool(metadata)}{by}"


@dataclass(frozen=True, slots=True)
class PinningResult:
    """What a pass found and did of the guests of templates.

    :ivar done: the actions that hold now, each with its guest
    :ivar pins: the threads of all guests; None if nothing could be decided about them
    :ivar drift: what something else has changed of guests since the agent left it right
    :ivar released: guests that are left alone, because an administrator has released them
    :ivar memory_elsewhere: server id to where the claim of a guest has to go, so that its vCPUs get to its memory
    :ivar cleared: vCPUs with another scheduling policy, threads that were moved to where their guest's emulator is, and
        interrupts, in words, each with its guest or the host
    :ivar bases: server id to that on which its layout is based
    """

    done: tuple[tuple[Subject, Action], ...] = ()
    pins: Pins | None = None
    drift: DriftReport = field(default_factory=DriftReport)
    released: tuple[Subject, ...] = ()
    memory_elsewhere: Mapping[str, MemoryElsewhere] = field(default_factory=dict)
    cleared: tuple[tuple[Subject, str], ...] = ()
    bases: Mapping[str, Basis] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnmanagedResult:
    """What a pass found and did of the guests without a template.

    :ivar count: how many there are
    :ivar confined: what was pinned of which guest to keep it off the pool, or given back
    :ivar problems: why guests are still on the pool, or have still what a template gave them
    """

    count: int = 0
    confined: tuple[tuple[Subject, str], ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reconcile pass found and did.

    :ivar problems: what is wrong now, one problem for each subject
    :ivar answers: those to the hooks of incoming guests, by the number of the question
    :ivar repaired: domains whose persistent definition held the pins of another host
    :ivar retry_seconds: when the next pass is due at the latest; None for the usual time
    """

    problems: tuple[Problem, ...] = ()
    placement: PlacementResult = field(default_factory=PlacementResult)
    pinning: PinningResult = field(default_factory=PinningResult)
    unmanaged: UnmanagedResult = field(default_factory=UnmanagedResult)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    repaired: tuple[str, ...] = ()
    retry_seconds: float | None = None

    def problem_of(self, subject: Subject) -> Problem | None:
        """What is wrong with a subject."""
        return next((problem for problem in self.problems if problem.subject == subject), None)

    @property
    def is_placement_well(self) -> bool:
        """Whether Placement answered and took what was written."""
        return all(problem.reason is not Reason.PLACEMENT for problem in self.problems)

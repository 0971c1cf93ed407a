# SPDX-License-Identifier: Apache-2.0
"""What a reconciler is made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Protocol, TypeVar

from kongming_sched.agent.act import confine
from kongming_sched.agent.act.beside import BesideGuests
from kongming_sched.agent.act.confine import Confinement
from kongming_sched.agent.act.keep_class import ClassKeeper
from kongming_sched.agent.act.unmanaged import UnmanagedGuests
from kongming_sched.agent.host.ports import Hypervisor, Kernel
from kongming_sched.agent.loop.patience import Patience
from kongming_sched.agent.settings import Settings
from kongming_sched.agent.state import released
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.agent.state.released import ReleasedFile
from kongming_sched.agent.state.reservations import RESERVATIONS_NAME, Reservations
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.state.starts import STARTS_NAME, Starts
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore

_T = TypeVar("_T")


class Attend(Protocol):
    """Makes a call that may wait for a guest's hook, and serves hooks meanwhile; see loop.attendant."""

    def __call__(self, call: Callable[[], _T]) -> _T: ...  # noqa: D102


def simply(call: Callable[[], _T]) -> _T:
    """Make a call while no hook asks anything."""
    return call()


HOURS_SPREAD_SECONDS = 20
"""Within so many seconds from the begin and the end of a template's hours all hosts follow."""


def utc_now() -> datetime:
    """The time of the host's clock, by which the hours of templates begin and end."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class ReconcilerParts:
    """The edges and the memory of a reconciler.

    :ivar registry: the node providers of this host in Placement
    :ivar store: the templates in Placement
    :ivar backoff: which guests are left alone because a change of them failed
    :ivar reservations: the CPUs of incoming guests
    :ivar metadata: what is known of servers' own metadata
    :ivar released: the file that lists the guests to be left alone
    :ivar patience: which guests the hypervisor leaves alone because libvirt is slow for them
    :ivar unmanaged: looks after guests without a template; None for one that confines nothing
    :ivar class_keeper: brings servers back to their class; None for one that changes no claims
    :ivar beside: clears the CPUs of guests of other threads and interrupts; None for one that moves no interrupts
    :ivar starts: the guests that start on CPUs which Nova has chosen
    :ivar attend: makes calls for which starting guests may have to be waited for
    :ivar now: the time of day
    :ivar hours_delay_seconds: how much later than the hours of templates begin and end the host follows
    """

    hypervisor: Hypervisor
    kernel: Kernel
    registry: NodeRegistry
    store: TemplateStore
    backoff: Backoff
    reservations: Reservations = field(default_factory=Reservations)
    metadata: Metadata = field(default_factory=Metadata)
    released: ReleasedFile = field(default_factory=ReleasedFile)
    unmanaged: UnmanagedGuests | None = None
    patience: Patience = field(default_factory=Patience)
    beside: BesideGuests | None = None
    starts: Starts = field(default_factory=Starts)
    attend: Attend = simply
    class_keeper: ClassKeeper | None = None
    now: Callable[[], datetime] = utc_now
    hours_delay_seconds: float = 0.1


def assemble(
    settings: Settings,
    client: PlacementClient,
    name: str,
    hypervisor: Hypervisor,
    kernel: Kernel,
    patience: Patience,
    metadata: Metadata,
    attend: Attend,
) -> ReconcilerParts:
    """The parts of the agent that runs, which keeps its files in the run directory.

    :param name: of the host's provider in Placement
    """
    directory = settings.run_directory
    confinement = Confinement(hypervisor, kernel, directory / confine.FILE_NAME)
    return ReconcilerParts(
        hypervisor,
        kernel,
        NodeRegistry(client, name, hypervisor.machine_mark()),
        TemplateStore(client),
        Backoff(settings.interval_seconds),
        Reservations(directory / RESERVATIONS_NAME),
        metadata,
        ReleasedFile(directory / released.FILE_NAME),
        UnmanagedGuests(hypervisor, kernel, confinement, settings.confine_unmanaged),
        patience,
        BesideGuests(kernel, directory, settings.move_irqs),
        Starts(directory / STARTS_NAME),
        attend,
        ClassKeeper(client, hypervisor),
        hours_delay_seconds=hours_delay(name),
    )


def hours_delay(name: str) -> float:
    """How much later than the hours of templates begin and end a host follows, in seconds: each has its own share.

    Else 10,000 agents would ask Placement in one second.

    :param name: of the host's provider in Placement
    """
    return 0.1 + zlib.crc32(name.encode()) % HOURS_SPREAD_SECONDS

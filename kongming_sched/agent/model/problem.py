# SPDX-License-Identifier: Apache-2.0
"""What is wrong on a host, as values: of what kind it is, what it is about, and the words for people.

Whatever finds a problem says all three. Log, metrics, systemd and commands print the words; decisions compare kinds and
subjects, and never read a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kongming_sched.agent.model.guest import RunningGuest
from kongming_sched.compat import StrEnum
from kongming_sched.texts.printable import shorten


class Reason(StrEnum):
    """The kind of a problem, as metrics count it."""

    PLACEMENT = "placement"
    """Placement does not answer, or refuses what the agent writes; the guests keep their pins."""
    TEMPLATE = "template"
    """The traits of a template's provider are not exactly one template."""
    DOMAIN = "domain"
    """libvirt, the kernel or its flavor does not let the agent read a guest, which keeps its CPUs and is left alone."""
    NO_PLACE = "no_place"
    """A guest cannot be as its template says: no claim here, no such template, no room."""
    MEMORY = "memory"
    """Pages of a guest are on other NUMA nodes than its memory is bound to."""
    OVERFULL = "overfull"
    """Servers have claimed more memory or huge pages of a NUMA node than it has by now."""
    UNMANAGED = "unmanaged"
    """A guest without a template is on the dedicated pool, and cannot be kept off it."""
    REFUSED = "refused"
    """libvirt or the kernel refused to change a guest; it is tried again after a while."""
    METADATA = "metadata"
    """What a server's own metadata asks for cannot be, or is not open to it."""
    WAITING = "waiting"
    """A guest waits for CPUs on which another guest is that cannot be moved now."""
    BUSY = "busy"
    """A guest migrates or is being saved, and is pinned when that is over."""
    DEFINITION = "definition"
    """Another host's pins could not be taken out of a guest's persistent definition."""
    LIBVIRT = "libvirt"
    """libvirt does not answer."""
    HOST = "host"
    """The description of the host's CPUs cannot be used."""
    CONFIGURATION = "configuration"
    """The options cannot work on this host any more, or a file of the run directory cannot be read or made."""
    AGENT = "agent"
    """A reconcile pass failed for a reason that the agent does not know; its log has the traceback."""
    TRIGGER = "trigger"
    """Something that wakes the agent does not work: a broker, or Nova's API."""


class SubjectKind(StrEnum):
    """What a problem can be about. The value is the word for it, which stands in front of the name if there is one."""

    SERVER = "server"
    TEMPLATE = "template"
    DEFINITION = "definition of"
    """The persistent definition of a domain."""
    TRIGGER = "trigger"
    RELEASED = "released guests"
    """The file that lists them."""
    NODE = "NUMA node"
    PLACEMENT = "Placement"
    NOVA = "Nova"
    LIBVIRT = "libvirt"
    HOST = "host"
    CONFIGURATION = "configuration"
    AGENT = "agent"
    LOCK = "lock"
    """That keeps a second agent from working on the host."""
    SOCKET = "socket"
    """On which hooks and commands reach the agent."""


_SERVICES = (SubjectKind.PLACEMENT, SubjectKind.NOVA, SubjectKind.LIBVIRT)
"""Errors of these begin with their name, as in "Placement could not list providers"."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a problem or a change is about.

    :ivar name: of a server, template, domain, trigger or node; empty for what there is one of
    :ivar id: of a server
    """

    kind: SubjectKind
    name: str = ""
    id: str = ""

    def __str__(self) -> str:
        words = (str(self.kind), self.name, f"({self.id})" if self.id else "")
        return " ".join(word for word in words if word)


PLACEMENT = Subject(SubjectKind.PLACEMENT)
RELEASED_GUESTS = Subject(SubjectKind.RELEASED)


def server(guest: RunningGuest) -> Subject:
    """A guest as a subject."""
    return Subject(SubjectKind.SERVER, guest.identity.server, guest.uuid)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be.

    :ivar text: what is wrong and, where there is a remedy, what to do; it does not repeat the subject. The middle of a
        text that is longer than anybody reads is left out
    """

    reason: Reason
    subject: Subject
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", shorten(self.text))

    def __str__(self) -> str:
        return self.text if self.subject.kind in _SERVICES else f"{self.subject}: {self.text}"


def one_per_subject(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The last problem of each subject, in the order in which the subjects came up."""
    return tuple({problem.subject: problem for problem in problems}.values())

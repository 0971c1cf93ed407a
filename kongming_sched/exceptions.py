# SPDX-License-Identifier: Apache-2.0
"""Every error of KongMing: a base and a few leaves that carry their facts as fields.

Over 300 lines because one tree of errors is read from one file.
"""

from __future__ import annotations

import re

from kongming_sched.texts.printable import quote, shorten
from kongming_sched.texts.sentences import clause

_OBJECT = re.compile(r"<(?:\w+\.)*(\w+) object at 0x[0-9a-f]+>")
"""How urllib3 1.26 names a connection; the address is another one each time."""


def _in_same_words(reason: str) -> str:
    """The same reason has the same words each time that it is met, so that a log can leave out what it said before.

    No longer than anybody reads, either: keystoneauth hands over whole pages of HTML that a proxy answers with. And
    without a full stop, for what to do follows.
    """
    return shorten(clause(_OBJECT.sub(r"\1", reason)))


class KongMingError(Exception):
    """Base of all errors that KongMing raises on purpose."""


class InvalidCpuSet(KongMingError):
    """A text is not a CPU set."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(
            f"{quote(text)} is not a CPU set: {reason}. Write ranges, lists and ^ to leave out, as in '5-6,9-11,^10'."
        )


class InvalidNumber(KongMingError, ValueError):
    """A text is not a whole number within its limits."""

    def __init__(self, text: str, least: int, most: int) -> None:
        self.text = text
        self.least = least
        self.most = most
        super().__init__(f"{quote(text)} is not a whole number from {least} to {most}")


class InvalidTopology(KongMingError):
    """The description of a host's CPUs and NUMA nodes cannot be used."""


class InvalidTemplate(KongMingError):
    """A template breaks a rule; ``path`` says where, as in ``cells[0].pins[1]``."""

    def __init__(self, name: str | None, path: str, reason: str) -> None:
        self.name = name
        self.path = path
        self.reason = shorten(reason)
        subject = f"template {name!r}" if name else "template"
        where = f" at {shorten(path, 200)}" if path else ""
        super().__init__(f"{subject}{where}: {self.reason}")


class InvalidTemplateFile(KongMingError):
    """A file does not hold a template.

    :ivar line: counted from 1; None where the file as a whole is wrong
    """

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        self.file = file
        self.line = line
        self.reason = reason
        super().__init__(f"{file}:{line}: {reason}" if line else f"{file}: {reason}")


class InvalidRequest(KongMingError):
    """A flavor's extra specs do not make a request that KongMing can honour."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"flavor extra spec {quote(key)}: {reason}")


class InvalidOverride(KongMingError):
    """A server's metadata asks for what cannot be, or for what is not open to it."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"its metadata {quote(key)}: {reason}")


class InvalidTraits(KongMingError):
    """The traits of a template provider are not exactly one template."""

    def __init__(self, name: str, clause: str, reason: str) -> None:
        self.name = name
        self.clause = clause
        self.reason = reason
        super().__init__(f"template provider of {name!r}, clause {clause}: {reason}")


class ConfigurationError(KongMingError):
    """An option has a value that cannot work on this host."""

    def __init__(self, option: str, reason: str) -> None:
        self.option = option
        self.reason = reason
        super().__init__(f"option {option}: {reason}")


class MissingFile(KongMingError):
    """A configuration file that was named is not there."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"there is no file {path}")


class InvalidDomain(KongMingError):
    """The XML of a domain cannot be read."""

    def __init__(self, domain: str, reason: str) -> None:
        self.domain = domain
        self.reason = reason
        super().__init__(f"the XML of domain {domain!r} cannot be read: {reason}; look at 'virsh dumpxml {domain}'")


class GuestGone(KongMingError):
    """A guest ended while it was read."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        super().__init__(f"domain {domain!r} does not run any more")


class GuestNotFound(KongMingError):
    """No running guest of this host, or more than one, has this name."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"server {name!r} {reason}; see 'virsh list' and 'kongming-host map'")


class HypervisorError(KongMingError):
    """libvirt refused a call, or cannot be reached.

    :ivar code: libvirt's error number, or None where the connection itself failed
    """

    def __init__(self, action: str, reason: str, code: int | None = None) -> None:
        self.action = action
        self.reason = shorten(clause(reason))  # it may be the end of QEMU's log
        self.code = code
        super().__init__(f"libvirt could not {action}: {self.reason}")


class HypervisorUnavailable(HypervisorError):
    """libvirtd cannot be reached, or went away: try again later."""


class SlowGuest(HypervisorError):
    """libvirt is not asked for a guest now, because it was slow to fail for this one, or for too many others."""

    def __init__(self, reason: str) -> None:
        super().__init__("", reason)
        self.args = (reason,)


class MoveRefused(KongMingError):
    """A server cannot be moved to another NUMA node, and nothing was changed."""

    def __init__(self, server: str, reason: str) -> None:
        self.server = server
        self.reason = reason
        super().__init__(f"server {server} stays where it is: {reason}")


class MoveFailed(KongMingError):
    """The move of a server to another NUMA node failed; ``end`` says how it was left."""

    def __init__(self, server: str, reason: str, end: str) -> None:
        self.server = server
        self.reason = reason
        self.end = end
        super().__init__(f"server {server} could not be moved: {reason}; {end}")


class AgentError(KongMingError):
    """The agent of this host cannot be asked, or did not do what was asked for."""


class InvalidOrder(KongMingError):
    """What came over the agent's socket is no order that it can carry out."""


class KernelError(HypervisorError):
    """The kernel refused to let a guest be read or changed."""

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(action, reason)
        self.args = (f"the kernel could not {action}: {reason}",)


class ControlGroupError(KernelError):
    """The kernel refused to change a control group of a guest, or there is none."""


class PlacementError(KongMingError):
    """Placement refused a request.

    :ivar status: the HTTP status, or None where no answer came
    :ivar code: Placement's own error code, as in ``placement.duplicate_name``; may be empty
    """

    def __init__(self, action: str, reason: str, status: int | None = None, code: str = "") -> None:
        self.action = action
        self.reason = _in_same_words(reason)
        self.status = status
        self.code = code
        super().__init__(f"Placement could not {action}: {self.reason}")


class PlacementConflict(PlacementError):
    """Another client has changed the object meanwhile (409): observe again."""


class PlacementUnavailable(PlacementError):
    """Placement did not answer, or answered with a server error: try again later."""


class ProviderNotFound(PlacementError):
    """The resource provider does not exist (404)."""


class AnotherMachine(PlacementError):
    """The node providers of a host are another machine's that answers to the same name; nothing was written.

    :ivar marks: of the machines whose they are
    :ivar mark: of this machine
    """

    def __init__(self, host: str, marks: tuple[str, ...], mark: str) -> None:
        self.host = host
        self.marks = marks
        self.mark = mark
        super().__init__(
            f"be written for {host}",
            f"its nodes there are those of another machine (mark {', '.join(marks)}; this one is {mark}). If both run,"
            " two compute nodes answer to this name: give one of them another, in nova.conf and in [kongming_agent]"
            " host. If this machine has taken the other's place, or its firmware's or libvirt's UUID has changed, say"
            f" 'openstack kongming host unset {host} --machine'",
        )


class ComputeError(KongMingError):
    """Nova refused a request, or cannot be reached."""

    def __init__(self, action: str, reason: str) -> None:
        self.action = action
        self.reason = _in_same_words(reason)
        super().__init__(f"Nova could not {action}: {self.reason}")


class ServerNotFound(KongMingError):
    """No server has this name or id, or several have the name."""

    def __init__(self, name_or_id: str, reason: str) -> None:
        self.name_or_id = name_or_id
        self.reason = reason
        super().__init__(f"{reason} {name_or_id!r}; see 'openstack server list --all-projects'")


class ClassRefused(KongMingError):
    """A server cannot have another template than it has."""

    def __init__(self, server: str, reason: str) -> None:
        self.server = server
        self.reason = reason
        super().__init__(f"server {server}: {reason}")


class FlavorNotFound(KongMingError):
    """No flavor has this name or id."""

    def __init__(self, name_or_id: str) -> None:
        self.name_or_id = name_or_id
        super().__init__(f"no flavor has the name or id {name_or_id!r}; see 'openstack flavor list --all'")


class InvalidFlavor(KongMingError):
    """A flavor cannot ask for a template.

    :ivar field: the extra spec, or the flavor's own field, that is the obstacle
    """

    def __init__(self, flavor: str, template: str, field: str, reason: str) -> None:
        self.flavor = flavor
        self.template = template
        self.field = field
        self.reason = reason
        super().__init__(f"flavor {flavor!r} cannot ask for template {template!r}: {field}: {reason}")


class HostNotFound(KongMingError):
    """No compute node of this name has node providers of KongMing."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"host {name!r} {reason}; see 'openstack kongming host list'")


class AggregateNotFound(KongMingError):
    """No host aggregate has this name or UUID, or several have the name."""

    def __init__(self, name_or_uuid: str, reason: str) -> None:
        self.name_or_uuid = name_or_uuid
        self.reason = reason
        super().__init__(f"{reason} {name_or_uuid!r}; see 'openstack aggregate list --long'")


class TemplateExists(KongMingError):
    """The name of a new template is taken."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"template {name!r} exists already; change it with 'openstack kongming template set {name} --file FILE'"
            " or choose another name"
        )


class TemplatesHalfStored(KongMingError):
    """Storing several templates failed, and so did taking back those that were stored already.

    :ivar left: the names of those that may be there
    """

    def __init__(self, left: tuple[str, ...], reason: str, obstacle: str) -> None:
        self.left = left
        self.reason = reason
        self.obstacle = obstacle
        super().__init__(
            f"{reason}; and what was stored before that could not be taken back ({obstacle}), so template"
            f" {', '.join(left)} may be there: run the same command again to store the rest, or delete them with"
            f" 'openstack kongming template delete {' '.join(left)}'"
        )


class TemplateNotFound(KongMingError):
    """No template has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no template is named {name!r}; see 'openstack kongming template list'")


class TemplateInUse(KongMingError):
    """A template cannot be taken away or changed while something names it."""

    def __init__(self, name: str, users: str, remedy: str) -> None:
        self.name = name
        self.users = users
        self.remedy = remedy
        super().__init__(f"template {name!r} is in use by {users}; {remedy}")

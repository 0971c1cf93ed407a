# SPDX-License-Identifier: Apache-2.0
"""What it takes to give a server another template than it has, line by line, and how that is carried out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.change_plan import Effect, Entry, Plan, changed
from kongming_sched.cli.classes import metadata as server_metadata
from kongming_sched.cli.server_checks import check_override
from kongming_sched.cloud.classes.change import ClassChange
from kongming_sched.cloud.classes.situation import Source
from kongming_sched.cloud.compute import ComputeClient, Server
from kongming_sched.cloud.nodes import amounts
from kongming_sched.override import select
from kongming_sched.placement.classes.claims import claim_on
from kongming_sched.request import TEMPLATE_KEY

REFUSALS = (
    exceptions.ClassRefused,
    exceptions.InvalidRequest,
    exceptions.TemplateNotFound,
    exceptions.InvalidTraits,
)
"""Errors by which a server cannot have a template."""


class Changer(Protocol):
    """Decides and writes changes of class."""

    @property
    def source(self) -> Source:
        """What there is."""

    def decide(self, server: Server, template: str | None, node: int | None = None) -> ClassChange:
        """What changes if a server gets a template instead of its flavor's."""

    def write(self, change: ClassChange, server: Server, template: str | None, node: int | None = None) -> None:
        """Write what was decided with this template and node."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server is to have.

    :ivar template: None for that of its flavor
    :ivar node: the NUMA node that it is to be on; None if that was not said
    :ivar gone: what goes from its metadata. There another template would have no effect
    """

    template: str | None
    node: int | None = None
    gone: Collection[str] = (TEMPLATE_KEY,)


@dataclass(frozen=True, slots=True)
class ClassPlan:
    """A plan for a server.

    :ivar decided: None if the server cannot have it
    :ivar refusal: why not
    """

    plan: Plan
    decided: ClassChange | None = None
    refusal: Exception | None = None


def plan_class(changer: Changer, compute: ComputeClient, server: Server, asked: Asked) -> ClassPlan:
    """A plan that gives a server a template instead of its flavor's, or its flavor's again."""
    subject, host = subject_of(server), server.host or None
    present = select(server.metadata)
    metadata = {key: value for key, value in present.items() if key not in asked.gone}
    steps = server_metadata.change(present, metadata)
    changes = [Entry(Effect.CHANGE, subject, line, host) for line in steps.lines(present)]
    try:
        decided = changer.decide(server, asked.template, asked.node)
    except REFUSALS as error:
        changes.append(Entry(Effect.CHANGE, subject, f"template: {asked.template or 'that of its flavor'}", host))
        return ClassPlan(Plan(subject, changes, _nothing, [error], host=host), refusal=error)
    changes = [*_lines(subject, host, server, decided), *changes]
    try:
        if metadata:
            check_override(changer.source.find_template, server, metadata, decided.before.states, decided.template)
    except (exceptions.InvalidOverride, exceptions.TemplateNotFound, exceptions.InvalidTraits) as error:
        refusal = osc_exceptions.CommandError(f"server {server.name!r}: {error}")
        return ClassPlan(Plan(subject, changes, _nothing, [refusal], host=host), refusal=refusal)

    def carry_out() -> None:
        changer.write(decided, server, asked.template, asked.node)
        server_metadata.write(compute, server, steps)

    effects = [Entry(Effect.MOVE, subject, _destination(decided), host)] if decided.claims else []
    return ClassPlan(Plan(subject, changes, carry_out, effects=lambda: effects, host=host), decided)


def subject_of(server: Server) -> str:
    """A server as the subject of a line."""
    return f"server {server.name} ({server.id})"


def _nothing() -> None:
    """Carries out what is refused."""


def _lines(subject: str, host: str | None, server: Server, decided: ClassChange) -> Iterator[Entry]:
    """What is written to Placement, line by line."""
    own = server.flavor.extra_specs.get(TEMPLATE_KEY)
    before, after = (item.template if item else own for item in (decided.before.server_class, decided.server_class))
    if decided.before.server_class != decided.server_class:
        yield Entry(Effect.CHANGE, subject, f"template: {changed(before, after)}", host)
    was = claim_on(decided.before.states, server.id)
    will = decided.nodes_after()
    for number in sorted({*was, *will}):
        if was.get(number) != will.get(number):
            taken = changed(*(str(columns.Fields(amounts(each.get(number, {})))) for each in (was, will)))
            yield Entry(Effect.CHANGE, subject, f"claim of node {number}: {taken}", host)
    root = decided.before.root_uuid
    vcpus = [claim.resources[root].get("VCPU") for claim in (decided.before.claim, decided.after)]
    if vcpus[0] != vcpus[1]:
        yield Entry(Effect.CHANGE, subject, f"claim of VCPU of the compute node: {changed(*vcpus)}", host)


def _destination(decided: ClassChange) -> str:
    """Where its vCPUs go, in words."""
    template = decided.template
    if template is None:
        return "its vCPUs to all CPUs, as those of a server without a template"
    nodes = ", ".join(map(str, sorted(decided.nodes_after())))
    return f"its vCPUs to where template {template!r} has them, on node {nodes}"

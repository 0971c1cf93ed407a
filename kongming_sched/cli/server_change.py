# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server``: the commands that change servers."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import columns
from kongming_sched.cli.change_plan import Effect, Entry, Plan, changed
from kongming_sched.cli.command import Change
from kongming_sched.cli.server_checks import check_override, states_of
from kongming_sched.cloud.classes.change import ClassChange, ClassChanger
from kongming_sched.cloud.classes.read import forget_class, read_template
from kongming_sched.cloud.compute import Server
from kongming_sched.cloud.nodes import amounts
from kongming_sched.override import CPUS_KEY, GRAMMAR, OLD_CPUS_KEY, select
from kongming_sched.placement.classes.claims import claim_on
from kongming_sched.placement.classes.records import read_record
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import NODE_IDS, find_whole_number


@dataclass(frozen=True, slots=True)
class Steps:
    """Changes of a server's metadata: keys to set, and keys to delete."""

    set: Mapping[str, str]
    delete: tuple[str, ...]

    def lines(self, before: Mapping[str, str]) -> list[str]:
        """As in ``kongming:cpus: 5-6 -> 7-8``."""
        changes = {**self.set, **dict.fromkeys(self.delete, "-")}
        return [f"{key}: {before.get(key, '-')} -> {value}" for key, value in sorted(changes.items())]


def change(before: Mapping[str, str], wanted: Mapping[str, str]) -> Steps:
    """The changes from the keys that a server has to the wanted ones."""
    return Steps(
        {key: value for key, value in wanted.items() if before.get(key) != value},
        tuple(key for key in before if key not in wanted),
    )


class _Write(Change):
    """The plans of both commands."""

    def plan_of_metadata(self, server: Server, wanted: Mapping[str, str]) -> Plan:
        """A plan that checks a server's wanted metadata and writes it."""
        before = select(server.metadata)
        steps = change(before, wanted)

        def refusals() -> Iterator[Exception]:
            try:
                template = read_template(self.placement, server)
                check_override(self.templates, server, wanted, states_of(self.placement, server), template)
            except (exceptions.InvalidOverride, exceptions.TemplateNotFound, exceptions.InvalidTraits) as error:
                yield osc_exceptions.CommandError(f"server {server.name!r}: {error}")

        subject, host = _subject(server), server.host or None
        changes = [Entry(Effect.CHANGE, subject, line, host) for line in steps.lines(before)]
        move = Entry(Effect.MOVE, subject, _destination(server, wanted), host)
        return Plan(
            subject, changes, lambda: self._write(server, steps), refusals(), lambda: [move] if host else [], host
        )

    def plan_of_class(
        self,
        server: Server,
        template: str | None,
        node: int | None = None,
        gone: Collection[str] = (TEMPLATE_KEY,),
    ) -> Plan:
        """A plan that gives a server a template instead of its flavor's; None for that of its flavor.

        :param gone: what goes from its metadata. There another template would have no effect
        """
        changer = ClassChanger(self.placement, self.templates)
        subject, host = _subject(server), server.host or None
        metadata = {key: value for key, value in select(server.metadata).items() if key not in gone}
        steps = change(select(server.metadata), metadata)
        changes = [Entry(Effect.CHANGE, subject, line, host) for line in steps.lines(select(server.metadata))]
        refusal: Exception | None = None
        effects: list[Entry] = []
        try:
            decided = changer.decide(server, template, node)
            if metadata:
                check_override(self.templates, server, metadata, decided.before.states, decided.template)
        except exceptions.InvalidOverride as error:
            refusal = osc_exceptions.CommandError(f"server {server.name!r}: {error}")
            changes = [*_class_lines(subject, host, server, decided), *changes]
        except _REFUSALS as error:
            if template is None and not changer.has_record(server):
                return self.plan_of_metadata(server, metadata)
            refusal = error
            changes.append(Entry(Effect.CHANGE, subject, f"template: {template or 'that of its flavor'}", host))
        else:
            changes = [*_class_lines(subject, host, server, decided), *changes]
            effects = [Entry(Effect.MOVE, subject, _class_destination(decided), host)] if decided.claims else []

        def carry_out() -> None:
            changer.change(server, template, node)
            self._write(server, steps)

        return Plan(subject, changes, carry_out, [refusal] if refusal else [], lambda: effects, host)

    def _write(self, server: Server, steps: Steps) -> None:
        if steps.set:
            self.compute.set_metadata(server, steps.set)
        for key in steps.delete:
            self.compute.delete_metadata(server, key)


_REFUSALS = (
    exceptions.ClassRefused,
    exceptions.InvalidRequest,
    exceptions.TemplateNotFound,
    exceptions.InvalidTraits,
)


def _subject(server: Server) -> str:
    return f"server {server.name} ({server.id})"


def _destination(server: Server, wanted: Mapping[str, str]) -> str:
    """Where its vCPUs go, in words."""
    cpus = wanted.get(CPUS_KEY) or wanted.get(OLD_CPUS_KEY)
    template = wanted.get(TEMPLATE_KEY) or server.flavor.extra_specs.get(TEMPLATE_KEY)
    return f"its vCPUs to CPU {cpus}" if cpus else f"its vCPUs to where template {template!r} has them"


def _class_lines(subject: str, host: str | None, server: Server, decided: ClassChange) -> Iterator[Entry]:
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


def _class_destination(decided: ClassChange) -> str:
    """Where its vCPUs go, in words."""
    template = decided.template
    if template is None:
        return "its vCPUs to all CPUs, as those of a server without a template"
    nodes = ", ".join(map(str, sorted(decided.nodes_after())))
    return f"its vCPUs to where template {template!r} has them, on node {nodes}"


class SetServer(_Write):
    """Give a running server another template than its flavor's, or other pins than its template says.

    With --template the server takes in Placement what that template takes, if its host has room, in place of what it
    has; its flavor need not name one. The agent on its host then moves its vCPUs and its memory, and sets its quality
    of service. It keeps the template when it is stopped and started, and after a migration if there is room. A resize
    to another flavor ends it. Nova and the server's owner see nothing of it.

    With --cpus the server's metadata is written, which the agent follows as far as the template's 'override' lets it.
    What the server takes in Placement stays as it is. CPUs of explicit cells lie within those that the template sets
    aside, dedicated vCPUs take one free CPU each of their node's pool.

    Example::

        openstack kongming server set web --template silver --dry-run
        openstack kongming server set web --template silver --node 1
        openstack kongming server set web --cpus "0:5-6;1:9"
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what it shall have."""
        parser = _add_server(super().get_parser(prog_name))
        parser.add_argument("--template", metavar="<name>", help="Another template, with as many vCPUs")
        parser.add_argument(
            "--node",
            metavar="<node>",
            type=_node,
            help="With --template: the NUMA node that the server shall be on (default: the one that it is on, or else"
            " the fullest that has room)",
        )
        parser.add_argument("--cpus", metavar="<cpus>", help=f"Host CPUs, as in {GRAMMAR}")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check, and write."""
        if (parsed_args.template is None) == (parsed_args.cpus is None):
            raise osc_exceptions.CommandError("say what to set: either --template or --cpus")
        if parsed_args.node is not None and parsed_args.template is None:
            raise osc_exceptions.CommandError("--node goes with --template")
        server = self.compute.find_server(parsed_args.server)
        if parsed_args.template is not None:
            return self.plan_of_class(server, parsed_args.template, parsed_args.node)
        wanted = select(server.metadata)
        wanted.pop(OLD_CPUS_KEY, None)
        wanted[CPUS_KEY] = parsed_args.cpus
        return self.plan_of_metadata(server, wanted)


class UnsetServer(_Write):
    """Give a running server the template of its flavor again, or the pins of its template.

    A server whose flavor names no template is let go: it takes of its host what Nova would have claimed, and runs on
    all CPUs. For a server that was deleted, by its id, what is recorded of its template is deleted.

    Example::

        openstack kongming server unset web --template
        openstack kongming server unset web --cpus
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the server, and what is to go."""
        parser = _add_server(super().get_parser(prog_name))
        parser.add_argument("--template", action="store_true", help="The other template")
        parser.add_argument("--cpus", action="store_true", help="The host CPUs")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Check what is left, and write."""
        if not parsed_args.template and not parsed_args.cpus:
            raise osc_exceptions.CommandError("say what to unset: --template, --cpus, or both")
        try:
            server = self.compute.find_server(parsed_args.server)
        except exceptions.ServerNotFound:
            if parsed_args.template and read_record(self.placement, parsed_args.server):
                return self._plan_for_gone(parsed_args.server)
            raise
        gone = {TEMPLATE_KEY} if parsed_args.template else set()
        gone |= {CPUS_KEY, OLD_CPUS_KEY} if parsed_args.cpus else set()
        if parsed_args.template:
            return self.plan_of_class(server, None, gone=gone)
        wanted = {key: value for key, value in select(server.metadata).items() if key not in gone}
        return self.plan_of_metadata(server, wanted)

    def _plan_for_gone(self, server_id: str) -> Plan:
        """A plan that deletes what records the template of a server that Nova does not know any more."""
        subject = f"server {server_id}"
        changes = [Entry(Effect.CHANGE, subject, "Nova does not know it; the record of its template is deleted")]
        return Plan(subject, changes, lambda: forget_class(self.placement, server_id))


def _node(text: str) -> int:
    number = find_whole_number(text, NODE_IDS)
    if number is None:
        raise argparse.ArgumentTypeError(f"{quote(text)} is not the number of a NUMA node")
    return number


def _add_server(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("server", metavar="<server>", help="Server (name or ID)")
    return parser

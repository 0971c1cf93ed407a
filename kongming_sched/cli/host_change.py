# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming host``: whether hosts take servers of templates."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import partial

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli.change_plan import Effect, Entry, Plan, changed
from kongming_sched.cli.command import Change
from kongming_sched.cloud.gone_hosts import Removal
from kongming_sched.cloud.nodes import node_id, offered_templates, read_nodes
from kongming_sched.placement.disabling import disable, disabled_traits, enable, enabled_traits
from kongming_sched.placement.machines import forget_machine, marks
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.tree import NodeState
from kongming_sched.texts.whole_number import NODE_IDS, whole_number_argument


class _OnHost(Change):
    """A change of the nodes of a host."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the host."""
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="<host>", help="Compute node, as 'openstack hypervisor list' names it")
        return parser

    def nodes(self, host: str) -> dict[int, NodeState]:
        """The nodes of a host by their numbers.

        :raises HostNotFound: if there is no such host, or it has no nodes
        """
        if not self.placement.providers(name=host):
            raise exceptions.HostNotFound(host, "is no compute node in Placement")
        _, _, found = NodeRegistry(self.placement, host).observe()
        if not found:
            raise exceptions.HostNotFound(host, "has no nodes: no kongming-agent has registered them")
        return {node_id(state.name): state for state in found.values()}


class _Switch(_OnHost):
    """The arguments of both commands, and the nodes that they name."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the host and its nodes."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--node",
            metavar="<number>",
            type=whole_number_argument(NODE_IDS),
            action="append",
            help="Only this NUMA node. Repeat for several (default: all nodes of the host)",
        )
        return parser

    def states(self, parsed_args: argparse.Namespace) -> list[NodeState]:
        """The nodes that the arguments name.

        :raises HostNotFound: if there is no such host, or it has no nodes
        :raises CommandError: if it does not have one of these nodes
        """
        host = parsed_args.host
        by_number = self.nodes(host)
        for number in parsed_args.node or ():
            if number not in by_number:
                has = ", ".join(map(str, sorted(by_number)))
                raise osc_exceptions.CommandError(f"host {host!r} has no node {number} for templates; it has {has}")
        return [by_number[number] for number in sorted(parsed_args.node or by_number)]


class DisableHost(_Switch):
    """Keep servers of templates away from a host, or from some of its NUMA nodes.

    Servers that are there stay and keep their pins. From this moment Placement offers the nodes to no flavor of a
    template, whether the host's agent runs or not, and it stays so until 'openstack kongming host enable'. Servers
    without a template are none of its business: see 'openstack compute service set --disable'.

    Example::

        openstack kongming host disable compute-1 --dry-run
        openstack kongming host disable compute-1 --node 1
    """

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Mark the nodes."""
        states = [state for state in self.states(parsed_args) if disabled_traits(state.traits) != state.traits]

        def carry_out() -> None:
            for state in states:
                disable(self.placement, state.uuid)

        changes = []
        for state in states:
            templates = ", ".join(offered_templates(state.traits)) or "no templates"
            detail = f"offers {changed(templates, 'no templates')}"
            changes.append(Entry(Effect.CHANGE, f"node {node_id(state.name)}", detail, parsed_args.host))
        subject = f"host {parsed_args.host}"
        return Plan(subject, changes, carry_out, effects=partial(self._losses, states, parsed_args.host))

    def _losses(self, states: Iterable[NodeState], host: str) -> Iterator[Entry]:
        """The templates that no other node offers."""
        mine = {state.uuid for state in states}
        lost = {name for state in states for name in offered_templates(state.traits)}
        for node in read_nodes(self.placement):
            if node.summary.uuid not in mine:
                lost -= set(node.templates)
        for name in sorted(lost):
            yield Entry(Effect.CONFLICT, f"template {name}", "no other node offers it: new servers get no host", host)


class EnableHost(_Switch):
    """Let a host, or some of its NUMA nodes, take servers of templates again.

    Its agent offers the templates that it can honour in its next pass.

    Example::

        openstack kongming host enable compute-1
    """

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Take the marks off."""
        states = [state for state in self.states(parsed_args) if enabled_traits(state.traits) != state.traits]

        def carry_out() -> None:
            for state in states:
                enable(self.placement, state.uuid)

        detail = "its agent offers templates again"
        changes = [Entry(Effect.CHANGE, f"node {node_id(state.name)}", detail, parsed_args.host) for state in states]
        return Plan(f"host {parsed_args.host}", changes, carry_out)


class UnsetHost(_OnHost):
    """Take something back that is known of a host.

    The agent of a host marks its nodes with its machine, and writes nothing while they are marked with another: two
    compute nodes then answer to one name, and would overwrite each other's nodes. Where a machine has been replaced, or
    its firmware's or libvirt's UUID has changed, --machine takes the mark away. Servers keep their claims.

    Example::

        openstack kongming host unset compute-1 --machine
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take what to forget."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--machine",
            action="store_true",
            required=True,
            help="Which machine the host is; the one whose agent makes the next pass has it then",
        )
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Take the marks away."""
        states = sorted(self.nodes(parsed_args.host).items())
        marked = [(number, state, marks(state.traits)) for number, state in states if marks(state.traits)]

        def carry_out() -> None:
            for _, state, _ in marked:
                forget_machine(self.placement, state.uuid)

        changes = [
            Entry(Effect.CHANGE, f"node {number}", f"machine {changed(', '.join(of), None)}", parsed_args.host)
            for number, _, of in marked
        ]
        return Plan(f"host {parsed_args.host}", changes, carry_out)


class DeleteHost(Change):
    """Delete what is left in Placement of a compute node that Nova does not know any more.

    That is so after 'openstack compute service delete', because Nova cannot delete the provider of a compute node that
    has nodes of KongMing's, and nova-compute cannot register a host of the same name again. The claims of servers that
    Nova knows on a host of that name, or elsewhere, are moved there; those of servers that Nova does not know are
    dropped. Where nova-compute waits for the name, and claims have to wait for it, the old provider is renamed first:
    run this again once the host's agent has registered its nodes.

    Example::

        openstack kongming host delete compute-1 --dry-run
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the host."""
        parser = super().get_parser(prog_name)
        parser.add_argument("host", metavar="<host>", help="Name of the compute node, or id of its provider")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Settle the claims, then delete the nodes and the compute node."""
        host = parsed_args.host
        removal = Removal(self.placement, self.compute, host)
        changes = [Entry(Effect.CHANGE, *change, host) for change in removal.changes]
        left = [Entry(Effect.CONFLICT, *item, host) for item in removal.left]
        return Plan(f"host {host}", changes, removal.carry_out, removal.refusals, lambda: left)

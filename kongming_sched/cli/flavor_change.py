# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming flavor``: the commands that change flavors."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from osc_lib import exceptions as osc_exceptions

from kongming_sched.cli.change_plan import Effect, Entry, Plan, changed
from kongming_sched.cli.command import Change
from kongming_sched.cloud import extra_specs
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.nodes import read_nodes
from kongming_sched.cloud.pages import find_shortage
from kongming_sched.nova_numa.keys import NovaCpuPolicy
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.request import STRATEGY_KEY, NumaStrategy
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.printable import clean_lines
from kongming_sched.texts.whole_number import THREADS_PER_CORE, whole_number_argument


class SetFlavor(Change):
    """Make a flavor ask for a template.

    Writes the extra specs that the template takes, and takes off those of another template. Servers that exist keep
    what they were made with.

    Example::

        openstack kongming flavor set gold.4 --template gold
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor, the template and how to count."""
        parser = super().get_parser(prog_name)
        parser.add_argument("flavor", metavar="<flavor>", help="Flavor (name or ID)")
        parser.add_argument("--template", metavar="<name>", required=True, help="Template that its servers shall have")
        parser.add_argument(
            "--numa-strategy",
            choices=[str(strategy) for strategy in NumaStrategy],
            help="Which NUMA node of a host a server takes where several fit (default: what the flavor has, or else"
            " what the scheduler is configured to take)",
        )
        parser.add_argument(
            "--group-policy",
            choices=("isolate", "none"),
            help="Whether Placement offers only candidates with each cell on another node (isolate), or all, of which"
            " the scheduler's filter drops most (none), as servers need that have several ports with guaranteed"
            " bandwidth (default: what the flavor has, or else isolate unless it asks for devices or request groups of"
            " its own)",
        )
        parser.add_argument(
            "--threads-per-core",
            metavar="<number>",
            type=whole_number_argument(THREADS_PER_CORE),
            help="Threads per core of the hosts, for templates that take whole cores (default: that of the nodes that"
            " offer the template, if it is the same for all)",
        )
        parser.add_argument(
            "--nova-cpu-policy",
            choices=[str(policy) for policy in NovaCpuPolicy],
            help="For templates with pages, realtime, devices: local or guest_numa: visible: the CPUs on which Nova"
            " starts the servers before the agent pins them, of cpu_dedicated_set, which is the dedicated pool of such"
            " hosts, or of cpu_shared_set, for hosts whose pool is in neither (default: what the flavor has, or else"
            " dedicated unless a cell is shared)",
        )
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Derive the extra specs and write them."""
        template = self.templates.get(parsed_args.template).template
        flavor = self.compute.find_flavor(parsed_args.flavor)
        threads = parsed_args.threads_per_core
        if threads is None and any(cell.needs_smt_trait for cell in template.cells):
            threads = self._threads_per_core(template)
        strategy = parsed_args.numa_strategy or flavor.extra_specs.get(STRATEGY_KEY)
        policy = extra_specs.present_cpu_policy(flavor.extra_specs, template)
        if parsed_args.nova_cpu_policy:
            policy = NovaCpuPolicy(parsed_args.nova_cpu_policy)
        wanted = extra_specs.wanted_extra_specs(flavor, template, threads, strategy, parsed_args.group_policy, policy)
        steps = extra_specs.steps_to_set(flavor.extra_specs, wanted)
        if template.pages:
            cells = cell_requests(template, flavor.memory_mb, threads)
            if shortage := find_shortage(cells, read_nodes(self.placement)):
                self.log.warning("%s", clean_lines(f"flavor {flavor.name}: {shortage}"))
        return _plan(flavor, steps, wanted, lambda: extra_specs.carry_out(self.compute, flavor, steps))

    def _threads_per_core(self, template: PinningTemplate) -> int:
        """The number of the nodes that offer the template, if it is the same for all."""
        offering = [node for node in read_nodes(self.placement) if template.name in node.templates]
        found = sorted({node.threads_per_core for node in offering if node.threads_per_core})
        if len(found) == 1:
            return found[0]
        reason = f"the nodes that offer it have {' or '.join(map(str, found))}" if found else "no node offers it yet"
        raise osc_exceptions.CommandError(
            f"template {template.name!r} takes whole cores, so how much it takes depends on the threads per core of the"
            f" hosts, and {reason}; say it with --threads-per-core"
        )


class UnsetFlavor(Change):
    """Make a flavor ask for no template any more.

    Takes off the extra specs that 'openstack kongming flavor set' wrote. Servers that exist keep what they were made
    with.

    Example::

        openstack kongming flavor unset gold.4
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take the flavor."""
        parser = super().get_parser(prog_name)
        parser.add_argument("flavor", metavar="<flavor>", help="Flavor (name or ID)")
        return parser

    def plan(self, parsed_args: argparse.Namespace) -> Plan:
        """Take the extra specs off."""
        flavor = self.compute.find_flavor(parsed_args.flavor)
        steps = extra_specs.steps_to_unset(flavor.extra_specs)
        return _plan(flavor, steps, {}, lambda: extra_specs.carry_out(self.compute, flavor, steps))


def _plan(
    flavor: Flavor, steps: Sequence[extra_specs.Step], wanted: Mapping[str, str], carry_out: Callable[[], None]
) -> Plan:
    """A plan with a line for each key that changes."""
    gone = [step for step in steps if isinstance(step, str)]
    written = {key for step in steps if not isinstance(step, str) for key in step}
    subject, present = f"flavor {flavor.name}", flavor.extra_specs
    details = [
        f"{key}: {changed(present.get(key), wanted.get(key))}"
        for key in sorted({*gone, *written})
        if present.get(key) != wanted.get(key)
    ]
    return Plan(subject, [Entry(Effect.CHANGE, subject, detail) for detail in details], carry_out)

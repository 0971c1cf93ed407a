# SPDX-License-Identifier: Apache-2.0
"""kongming-status: ``kongming-status upgrade check``."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import openstack
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from kongming_sched import exceptions, version
from kongming_sched.conf import status as status_conf
from kongming_sched.status import agents, inventory, settings
from kongming_sched.status.cloud import Cloud
from kongming_sched.status.files import Files
from kongming_sched.status.verdict import Verdict, failure, warning
from kongming_sched.texts.printable import clean_lines

_DESCRIPTION = """Says whether this machine's files and the cloud's data are right for KongMing, and what to do where
they are not. The exit code is 0 if all is well, 1 if something needs attention, 2 if servers of templates do not get
what they were promised, and 255 if the checks could not be made.
Example: kongming-status --os-cloud admin upgrade check"""

_WIDTH = 66
"""The width of details, so that the table with its frame fits into 80 columns."""


class Checks(upgradecheck.UpgradeCommands):
    """The checks of ``kongming-status upgrade check``.

    :param conf: the command line, parsed when the first check runs
    """

    display_title = "KongMing: Upgrade Check Results"

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._cloud = Cloud(self._connect)
        checks = {
            "Placement and Nova": self.services,
            "CPUs of the agent and of Nova": self.agent_file,
            "Filters and weighers of nova-scheduler": self.filters,
            "Limits on candidates": self.candidates,
            "Claims in Placement": self.claims,
            "NUMA nodes of hosts that are gone": self.gone_hosts,
            "Templates that no host can honour": self.templates,
            "Templates open to tenants": self.open_templates,
            "Flavors with a template": self.flavors,
            "Agents": self.agents,
        }
        self._upgrade_checks = tuple(
            (name, lambda self, check=check: self._result(check)) for name, check in checks.items()
        )

    def _connect(self) -> Any:
        return openstack.connect(cloud=self._conf.os_cloud, app_name="kongming-status")

    @property
    def _files(self) -> Files:
        return Files.of(self._conf)

    def _get_details(self, upgrade_check_result: upgradecheck.Result) -> str:
        """The details for the table: a paragraph for each problem, in which no command is broken."""
        lines = str(upgrade_check_result.details).splitlines()
        wrap = functools.partial(textwrap.wrap, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        return "\n".join(part for line in lines for part in wrap(line, _WIDTH))

    def services(self) -> Verdict:
        """Whether Placement and Nova answer an administrator."""
        if not (self._conf.os_cloud or os.environ.get("OS_CLOUD") or os.environ.get("OS_AUTH_URL")):
            fact = "there are no credentials, so that only files are checked"
            return Verdict.of("", [warning(fact, "name an administrator's cloud with --os-cloud or OS_CLOUD")])
        problems = []
        for name, ask in (("Placement", lambda: self._cloud.templates), ("Nova", lambda: self._cloud.hypervisors)):
            try:
                ask()
            except exceptions.KongMingError as error:
                problems.append(
                    failure(str(error), f"see that {name} runs, and that these are an administrator's credentials")
                )
        return Verdict.of("Placement and Nova answer", problems)

    def agent_file(self) -> Verdict:
        """Whether the agent gives CPUs away that nova.conf gives away too, or none at all."""
        return settings.of_agent(self._files.read_agent())

    def filters(self) -> Verdict:
        """Whether nova.conf loads and enables KongMing's filters and weighers, in the right order."""
        led: list[str] = []
        with contextlib.suppress(exceptions.PlacementError):  # which another check reports
            templates = self._cloud.templates.templates
            led = sorted(name for name, stored in templates.items() if stored.template.needs_nova_numa)
        return settings.of_filters(self._files.read_nova(), led, has_agent=bool(self._files.agent))

    def candidates(self) -> Verdict:
        """Whether Placement makes and Nova asks for enough candidates, for as many NUMA nodes as there are."""
        nodes: dict[str, int] = {}
        try:
            for provider in self._cloud.node_providers:
                nodes[provider.root_uuid] = nodes.get(provider.root_uuid, 0) + 1
            templates = [stored.template for stored in self._cloud.templates.templates.values()]
        except exceptions.PlacementError:  # which another check reports; the files can be checked without it
            nodes, templates = {}, []
        flavors = None
        with contextlib.suppress(exceptions.ComputeError):  # which another check reports
            flavors = self._cloud.flavors if templates else None
        nova, placement = self._files.read_nova(), self._files.read_placement()
        return settings.of_candidates(nova, placement, nodes, templates, flavors)

    def claims(self) -> Verdict:
        """Whether Placement itself may repeat a claim, so that more may be allocated than there is."""
        return settings.of_claims(self._files.read_placement())

    def gone_hosts(self) -> Verdict:
        """Node providers in Placement whose compute node Nova does not know."""
        return inventory.of_gone_hosts(self._cloud.node_providers, self._cloud.hypervisors)

    def templates(self) -> Verdict:
        """Templates that cannot be read, or that no node offers."""
        return inventory.of_templates(self._cloud.templates, self._cloud.nodes)

    def open_templates(self) -> Verdict:
        """Templates whose servers may choose another one with other QoS, by their own metadata."""
        return inventory.of_open_templates(self._cloud.templates)

    def flavors(self) -> Verdict:
        """Flavors that ask for something else than their templates take, or for a part of it."""
        return inventory.of_flavors(self._cloud.flavors, self._cloud.templates)

    def agents(self) -> Verdict:
        """Hosts whose agent has not been seen for hours, or has not done what a running one would have done."""
        cloud = self._cloud
        members = {
            name: cloud.members_of(stored.aggregates)
            for name, stored in cloud.templates.templates.items()
            if stored.aggregates
        }
        seen = agents.Seen(cloud.signs, int(time.time() // 60))
        return agents.of_agents(cloud.nodes, cloud.compute_nodes, cloud.templates, members, seen)

    def _result(self, check: Callable[[], Verdict]) -> upgradecheck.Result:
        """Make a check. If it needs a service that does not answer, the result says so."""
        try:
            verdict = check()
        except exceptions.PlacementError:
            verdict = inventory.not_checked("Placement")
        except exceptions.ComputeError:
            verdict = inventory.not_checked("Nova")
        except exceptions.ConfigurationError as error:
            verdict = Verdict.of("", [failure(str(error), "write the option as its help says")])
        except exceptions.MissingFile as error:
            verdict = Verdict.of("", [failure(str(error), "name the file that is meant")])
        return upgradecheck.Result(verdict.code, verdict.details)


def main(args: list[str] | None = None) -> int:
    """The program kongming-status."""
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(status_conf.CLI_OPTS)
    checks = Checks(conf)
    upgradecheck.register_cli_options(conf, checks)
    try:
        conf(
            sys.argv[1:] if args is None else args,
            project="kongming",
            prog="kongming-status",
            version=version.line(),
            default_config_files=[],
            default_config_dirs=[],
            description=_DESCRIPTION,
        )
    except cfg.Error as error:
        print(clean_lines(f"kongming-status: {error}"), file=sys.stderr)
        return 255
    upgradecheck.CONF = conf  # from which it reads --json
    return int(upgradecheck.run(conf))

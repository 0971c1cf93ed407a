# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming server set --all``: many servers change their template, one after the other.

Each is changed by itself, in one request, so that none is left halfway whenever this ends. Which servers have the
template by now is in Placement, so that the same command again takes up those that are left.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cli import progress
from kongming_sched.cli.change_plan import Effect, Entry
from kongming_sched.cli.classes.plan import REFUSALS, Asked, ClassPlan, plan_class, subject_of
from kongming_sched.cli.classes.which import Which
from kongming_sched.cloud.classes.many import ManyChanger
from kongming_sched.cloud.compute import ComputeClient, Server
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.texts.counted import count
from kongming_sched.texts.printable import clean_lines

MOST_FAILURES = 3
"""How many servers in a row may fail because Placement or Nova does, before the others are left."""


class ManyServers:
    """Gives many servers a template."""

    def __init__(
        self, changer: ManyChanger, compute: ComputeClient, servers: list[Server], which: Which, asked: Asked
    ) -> None:
        self._changer, self._compute, self._which, self._asked = changer, compute, which, asked
        self._servers = [server for server in servers if self._is_meant(server)]
        self._servers.sort(key=lambda server: (server.host, server.name, server.id))
        self._changed = 0
        self._left = len(self._servers)
        self._failures: list[Entry] = []

    def report(self) -> list[Entry]:
        """What it would do, line by line, each server with those before it changed; nothing is written."""
        entries: list[Entry] = []
        for server in progress.shown(self._servers, "deciding on server"):
            if self._is_enough():
                break
            found = self._plan(server)
            entries += found.plan.report()
            if found.decided is not None and found.plan.changes:
                self._changer.source.note(found.decided)
                self._changed += 1
        return entries

    def run(self) -> list[Entry]:
        """Do it; gives a line for each server that could not. What came of it is said on standard error, also where it
        is broken off.
        """
        in_a_row = 0
        try:
            for server in progress.shown(self._servers, "changing server"):
                if self._is_enough() or in_a_row == MOST_FAILURES:
                    break
                try:
                    self._changed += self._change(server)
                    in_a_row = 0
                except (*REFUSALS, osc_exceptions.CommandError) as error:
                    in_a_row = 0
                    self._fail(server, error)
                except (exceptions.PlacementError, exceptions.ComputeError) as error:
                    in_a_row += 1
                    self._fail(server, error)
                self._left -= 1
        finally:
            sys.stderr.write("".join(f"{line}\n" for line in self._summary()))
        return self._failures

    def _change(self, server: Server) -> bool:
        """Change a server; false if it is gone, or is none of those that are meant any more."""
        try:
            server = self._compute.find_server(server.id)  # Nova may be moving it by now
        except exceptions.ServerNotFound:
            return False
        plan = self._plan(server).plan if self._is_meant(server) else None
        if plan is None or not plan.changes:
            return False
        plan.run()
        return True

    def _plan(self, server: Server) -> ClassPlan:
        return plan_class(self._changer, self._compute, server, self._asked)

    def _fail(self, server: Server, error: Exception) -> None:
        detail = clean_lines(str(error))
        self._failures.append(Entry(Effect.CONFLICT, subject_of(server), detail, server.host or None))

    def _is_enough(self) -> bool:
        return self._changed == self._which.at_most

    def _is_meant(self, server: Server) -> bool:
        which = self._which
        return (
            (self._changer.template_of(server) == which.present or self._is_unfinished(server))
            and which.project_id in (None, server.project_id)
            and which.host in (None, server.host)
            and which.flavor in (None, server.flavor.name)
            and server.name.startswith(which.name_prefix)
        )

    def _is_unfinished(self, server: Server) -> bool:
        """Whether a server has the template, and its metadata still names one because it was broken off in between."""
        own = server.flavor.extra_specs.get(TEMPLATE_KEY)
        has_it = self._changer.template_of(server) == self._asked.template
        return has_it and own == self._which.present and TEMPLATE_KEY in server.metadata

    def _summary(self) -> Iterator[str]:
        if not self._servers:
            meant = f"template {self._which.present!r}" if self._which.present else "no template"
            yield f"None of these servers has {meant}."
            return
        failed = f"; {len(self._failures)} could not" if self._failures else ""
        yield f"{self._changed} of {count(len(self._servers), 'server')} changed to {self._asked.template!r}{failed}."
        if self._left:
            yield f"{count(self._left, 'server')} left: run the same command again to go on."

# SPDX-License-Identifier: Apache-2.0
"""Moves the claims of guests to where their memory is bound for good; their vCPUs follow. See bound_memory.py."""

from __future__ import annotations

from collections.abc import Mapping

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.model.view import MemoryElsewhere
from kongming_sched.agent.state.backoff import Backoff

LOG = log.getLogger(__name__)


class Follower:
    """Lets the vCPUs of such guests follow as soon as there is room for them.

    :param backoff: of moves that failed, apart from that of pins
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._logged: dict[str, str] = {}

    def run(self, memory_elsewhere: Mapping[str, MemoryElsewhere], mover: Mover) -> list[str]:
        """Move each that can be moved; gives what was done, line by line.

        What fails is undone, logged once, and tried again after a while.

        :param memory_elsewhere: server id to where its claim has to go, as the last pass found it
        """
        self._backoff.keep_only(memory_elsewhere)
        self._logged = {server: reason for server, reason in self._logged.items() if server in memory_elsewhere}
        waiting = self._backoff.waiting()
        done: list[str] = []
        for server, elsewhere in sorted(memory_elsewhere.items()):
            if elsewhere.obstacle or server in waiting:
                continue
            try:
                done += mover.move(server, elsewhere.bound)
            except exceptions.KongMingError as error:
                if self._logged.get(server) != str(error):
                    LOG.warning("the vCPUs of server %s do not follow its memory: %s", server, error)
                self._logged[server] = str(error)
                self._backoff.record({server: str(error)}, ())
        return done

# SPDX-License-Identifier: Apache-2.0
"""Moves the claims of guests whose memory is bound for good to where it is; their vCPUs follow. See strict.py."""

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
        self._said: dict[str, str] = {}

    def run(self, memory_elsewhere: Mapping[str, MemoryElsewhere], mover: Mover) -> list[str]:
        """Move each that can be moved; gives what was done, line by line.

        What fails is undone, said, and tried again after a while.

        :param memory_elsewhere: server id to the way of its claim, as the last look found it
        """
        self._backoff.keep_only(memory_elsewhere)
        self._said = {server: reason for server, reason in self._said.items() if server in memory_elsewhere}
        waiting = self._backoff.waiting()
        done: list[str] = []
        for server, stray in sorted(memory_elsewhere.items()):
            if stray.obstacle or server in waiting:
                continue
            try:
                done += mover.move(server, stray.bound)
            except exceptions.KongMingError as error:
                if self._said.get(server) != str(error):
                    LOG.warning("the vCPUs of server %s do not follow its memory: %s", server, error)
                self._said[server] = str(error)
                self._backoff.record({server: str(error)}, ())
        return done

# SPDX-License-Identifier: Apache-2.0
"""What makes an agent the one of its host: its lock, and the socket where hooks and commands find it.

Both have files in the run directory, which an administrator or a clean-up of /run may remove under a running agent.
"""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.ipc.listener import Listener
from kongming_sched.agent.ipc.question import Question
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.settings import Settings
from kongming_sched.agent.state.lock import HostLock
from kongming_sched.agent.state.starts import is_clear_of
from kongming_sched.cpuset import CpuSet

LOG = log.getLogger(__name__)

_LOCK = Subject(SubjectKind.LOCK)
_SOCKET = Subject(SubjectKind.SOCKET)


class Presence:
    """Holds the lock and listens, and sees to it that this stays so.

    :param wake: called whenever a question or an order has come
    :param is_working: whether the agent works, which a hook asks; called by other threads
    :ivar pool: the dedicated pool as the loop knows it; None before it has seen the host
    :ivar problems: why a second agent would not be noticed, or hooks and commands do not reach this one
    """

    def __init__(self, wake: Callable[[], None], is_working: Callable[[], bool]) -> None:
        self.problems: tuple[Problem, ...] = ()
        self._wake = wake
        self._is_working = is_working
        self._lock = HostLock()
        self._listener: Listener | None = None
        self.pool: CpuSet | None = None

    def claim(self, settings: Settings) -> None:
        """Be the only agent of the host.

        :raises ConfigurationError: if there is another one, or another user could have written to the run directory
        """
        self._lock.claim(settings.run_directory, settings.lock_name)

    def renew(self, settings: Settings) -> None:
        """Hold and listen again where something has been removed; what does not work becomes a problem."""
        found = []
        if reason := self._renew_lock(settings):
            found.append(Problem(Reason.CONFIGURATION, _LOCK, reason))
        if reason := self._listen(settings):
            text = f"hooks and commands do not reach the agent, and incoming guests are pinned once they run: {reason}"
            found.append(Problem(Reason.CONFIGURATION, _SOCKET, text))
        self.problems = tuple(found)

    def take(self) -> list[Question]:
        """The hooks' questions that came since the last call."""
        return self._listener.take() if self._listener else []

    def take_starts(self) -> list[Question]:
        """The questions of hooks for starting guests that came since the last call."""
        return self._listener.take_starts() if self._listener else []

    def take_order(self) -> Question | None:
        """The order that has waited longest; None if none waits."""
        return self._listener.take_order() if self._listener else None

    def end(self) -> None:
        """Stop listening, and let the lock go."""
        if self._listener is not None:
            self._listener.close()
        self._lock.release()

    def _is_clear(self, xml: str) -> bool:
        """Whether a guest that starts has nothing to do with the pool; called by other threads."""
        return self.pool is not None and is_clear_of(self.pool, xml)

    def _renew_lock(self, settings: Settings) -> str:
        """Why the lock is not what it should be; empty if it is."""
        try:
            if self._lock.renew():
                LOG.warning("the lock in %s had been removed or replaced; it is there again", settings.run_directory)
        except (exceptions.ConfigurationError, OSError) as error:
            return str(error)
        return self._lock.problem

    def _listen(self, settings: Settings) -> str:
        """Listen in the run directory; gives why that is not possible, or nothing."""
        listener = self._listener
        if listener is not None and listener.path.parent == settings.run_directory:
            if listener.is_in_place():
                return ""
            LOG.warning("the socket %s had been removed or replaced; listening there anew", listener.path)
        if listener is not None:
            listener.close()
        self._listener = None
        listener = Listener(settings.run_directory, self._wake, self._is_working, self._is_clear)
        try:
            listener.open()
        except exceptions.ConfigurationError as error:
            return str(error)
        self._listener = listener
        return ""

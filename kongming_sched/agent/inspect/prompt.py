# SPDX-License-Identifier: Apache-2.0
"""libvirt as commands reach it: a guest that hangs costs an operator seconds, and the others are shown.

The agent may wait half a minute for libvirt's lock of such a guest, for it has a next pass. A command has none, and
its operator is waiting, mostly because something hangs. Here a call is made in a thread and given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kongming_sched import exceptions
from kongming_sched.agent.host.ports import MemoryReader, PlainHypervisor
from kongming_sched.agent.loop.patience import Limits, Patience, PatientHypervisor
from kongming_sched.api.bound import Bound

_T = TypeVar("_T")

ANSWER_SECONDS = 5.0
"""How long a call for a guest may take: libvirt reads one in milliseconds, and pins a thread in a few."""

_MOST_SLOW = 4
"""After so many slow guests no other is asked for: libvirtd works on five requests of a client at a time
(max_client_requests), so that one more that hangs would keep it from all others."""


class PromptHypervisor(PatientHypervisor):
    """Gives calls for a guest up that take long, and asks no more for that guest.

    What was given up may still be done by libvirt, once the guest answers.

    :param answer_seconds: how long a call may take
    :param clock: seconds since the machine's start
    """

    def __init__(
        self,
        hypervisor: PlainHypervisor,
        kernel: MemoryReader,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = Limits(
            answer_seconds / 2,
            (_MOST_SLOW - 0.5) * answer_seconds,
            "this command asks for it no more",
            "this command does not ask for this one",
        )
        super().__init__(hypervisor, kernel, Patience(clock, limits))
        self._seconds = answer_seconds
        self._bound = Bound()

    def _make(self, call: Callable[[], _T]) -> _T:
        try:
            return self._bound.run(call, self._seconds)
        except TimeoutError as error:
            reason = "another call for this guest does not end; its QEMU or its storage may hang"
            raise exceptions.HypervisorError("answer", reason) from error

# SPDX-License-Identifier: Apache-2.0
"""Answers the hooks of starting guests between the passes, and while a pass waits for libvirt or Placement.

libvirt gives no list of guests while the hook of one waits. So the loop asks for it in a thread of its own and answers
hooks meanwhile: a pass that waits for such a list would else wait for a hook that waits for this pass. Nothing that
changes guests runs in another thread than the loop's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.ipc.question import Question
from kongming_sched.agent.model.outcome import StartAnswer

LOG = log.getLogger(__name__)

_T = TypeVar("_T")


class Attendant:
    """Attends to the hooks of starting guests.

    :param take: the questions that came since it was called last
    :param clear: clears the CPUs of the guest of an XML
    """

    def __init__(self, take: Callable[[], list[Question]], clear: Callable[[str], StartAnswer]) -> None:
        self._take = take
        self._clear = clear
        self._stirred = threading.Event()
        self._caller = ThreadPoolExecutor(1, "libvirt-list")
        self._logged: dict[str, str] = {}

    def stir(self) -> None:
        """A question has come; called by other threads."""
        self._stirred.set()

    def serve(self) -> None:
        """Answer all that ask."""
        for question in self._take():
            question.answer(self._answer(question.xml).as_json())

    def attend(self, call: Callable[[], _T]) -> _T:
        """Make a call that changes nothing, and answer hooks until it is done.

        :raises Exception: what the call raises
        """
        future = self._caller.submit(call)
        future.add_done_callback(lambda _: self._stirred.set())
        while not future.done():
            self._stirred.wait()
            self._stirred.clear()
            self.serve()
        return future.result()

    def _answer(self, xml: str) -> StartAnswer:
        try:
            answer = self._clear(xml)
        except exceptions.KongMingError as error:
            answer = StartAnswer("", refusal=str(error), is_transient=True)
        except Exception:  # part of the outermost loop: no hook may end the agent
            LOG.exception("a starting guest could not be answered")
            answer = StartAnswer("", refusal="the agent failed; see its log", is_transient=True)
        # A hook asks again and again for what may change soon.
        if answer.refusal and self._logged.get(answer.server) != answer.refusal:
            LOG.warning("%s", answer)
        elif not answer.refusal:
            LOG.info("%s", answer)
        self._logged = {answer.server: answer.refusal}
        return answer

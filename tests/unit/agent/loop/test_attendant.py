# SPDX-License-Identifier: Apache-2.0
"""The hooks of starting guests are answered while the loop waits for libvirt."""

from __future__ import annotations

import threading

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.ipc.question import Question
from kongming_sched.agent.loop.attendant import Attendant
from kongming_sched.agent.model.outcome import StartAnswer
from kongming_sched.cpuset import CpuSet

PATIENCE_SECONDS = 60.0


def attendant(questions: list[Question], answer: StartAnswer | Exception) -> Attendant:
    """One that gives the same answer to all questions, or fails."""

    def take() -> list[Question]:
        taken = questions.copy()
        questions.clear()
        return taken

    def clear(_xml: str) -> StartAnswer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Attendant(take, clear)


def test_a_call_that_waits_for_a_hook() -> None:
    """The hook is answered, by the thread that makes the call, and so the call ends."""
    questions: list[Question] = []
    threads: list[threading.Thread] = []
    question = Question("<domain/>")

    def clear(_xml: str) -> StartAnswer:
        threads.append(threading.current_thread())
        return StartAnswer("web", CpuSet.of([4]))

    desk = Attendant(lambda: [questions.pop()] if questions else [], clear)

    def list_guests() -> object:
        questions.append(question)
        desk.stir()
        return question.wait(PATIENCE_SECONDS)

    result = desk.attend(list_guests)

    assert {"running": True, "clear": True, "reason": "", "retry": False} == result
    assert [threading.current_thread()] == threads


def test_a_call_that_fails() -> None:
    """Its error is that of the call."""
    with pytest.raises(ZeroDivisionError):
        attendant([], StartAnswer("")).attend(lambda: 1 / 0)


def test_a_question_between_the_passes() -> None:
    """It is answered at once."""
    question = Question("<domain/>")
    attendant([question], StartAnswer("web", CpuSet.of([4]), "CPU 4 is in use")).serve()

    assert {"running": True, "clear": False, "reason": "CPU 4 is in use", "retry": False} == question.wait(0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.HypervisorError("list", "gone"), "libvirt could not list: gone"),
        (RuntimeError("a fault of ours"), "the agent failed; see its log"),
    ],
)
def test_what_fails(error: Exception, reason: str) -> None:
    """The guest does not start, and the hook may ask again."""
    question = Question("<domain/>")
    attendant([question], error).serve()

    answer = question.wait(0)
    assert answer is not None
    assert (False, True, reason) == (answer["clear"], answer["retry"], answer["reason"])

# SPDX-License-Identifier: Apache-2.0
"""How the threads of a guest, and what is done to them, are called."""

from __future__ import annotations

import pytest

from kongming_sched.agent.model.actions import Action, Kind, ThreadKey, Unit
from kongming_sched.cpuset import CpuSet

ONE, TWO = CpuSet.parse("1"), CpuSet.parse("2-3")


@pytest.mark.parametrize(
    ("thread", "words"),
    [
        pytest.param(ThreadKey(Kind.VCPU, 0), "vCPU 0", id="vCPU"),
        pytest.param(ThreadKey(Kind.EMULATOR), "emulator", id="emulator, of which there is one"),
        pytest.param(ThreadKey(Kind.IOTHREAD, 1), "I/O thread 1", id="I/O thread"),
    ],
)
def test_thread_in_words(thread: ThreadKey, words: str) -> None:
    """A thread has a number in words if a guest may have several of its kind."""
    assert words == str(thread)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        pytest.param(Action("a", Kind.VCPU, 1, TWO, ONE), "vCPU 1: CPU 1 -> 2-3", id="vCPU"),
        pytest.param(Action("a", Kind.EMULATOR, cpus=TWO, before=ONE), "emulator: CPU 1 -> 2-3", id="emulator"),
        pytest.param(Action("a", Kind.IOTHREAD, 7, TWO, ONE), "I/O thread 7: CPU 1 -> 2-3", id="I/O thread"),
        pytest.param(Action("a", Kind.MEMORY, cpus=ONE), "memory: node any -> 1", id="memory that was not bound"),
        pytest.param(
            Action("a", Kind.SCHEDULER, parameters={"cpu_shares": 2}, parameters_before={"cpu_shares": 1}),
            "cpu_shares 1 -> 2",
            id="scheduler",
        ),
        pytest.param(
            Action("a", Kind.QUOTA, 3, parameters={"quota_us": 50_000}, parameters_before={"quota_us": -1}),
            "vCPU 3: quota_us -1 -> 50000",
            id="quota of one vCPU",
        ),
    ],
)
def test_action_in_words(action: Action, words: str) -> None:
    """An action says what it changes, from what, and to what."""
    assert words == str(action)


def test_action_and_unit_name_the_same_thread() -> None:
    """So that what was done can be found among all threads of a host."""
    assert Unit("a", Kind.IOTHREAD, 7, ONE, TWO).key == Action("a", Kind.IOTHREAD, 7, TWO, ONE).key


def test_unit_knows_its_thread() -> None:
    """Within its guest it is found by kind and number."""
    assert ThreadKey(Kind.VCPU, 2) == Unit("a", Kind.VCPU, 2, ONE, TWO).thread

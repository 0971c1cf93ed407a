# SPDX-License-Identifier: Apache-2.0
"""Scheduling policies of vCPUs: of a real process that calls itself one, and on files laid out as the kernel's."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.host.policies import read_policies, set_policy
from kongming_sched.agent.model.policy import ORDINARY, Policy, fifo
from tests.unit.agent.host.test_kernel import V1_GROUPS, V2_GROUPS

STAT = "81 (CPU 0/KVM) S " + " ".join(map(str, range(1, 37))) + " 5 1 0"
"""The 40th field is the priority, and the 41st the policy."""


@pytest.fixture
def vcpu() -> Iterator[str]:
    """A process that has the name of a vCPU's thread; gives the path of its threads."""
    script = "printf 'CPU 3/TCG' > /proc/$$/comm; echo ready; read -r end"
    pipe = subprocess.PIPE
    with subprocess.Popen(["/bin/sh", "-c", script], stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        process.stdout.readline()
        yield f"/proc/{process.pid}/task"


def may_set() -> bool:
    """Whether the machine lets the tests set real-time policies."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


@pytest.mark.skipif(not may_set(), reason="needs CAP_SYS_NICE")
def test_a_real_thread(vcpu: str) -> None:
    """It gets a priority, another one, and the ordinary policy again; no other vCPU is touched."""
    found = [read_policies(vcpu)]
    for policy in (fifo(3), fifo(4), ORDINARY):
        set_policy(vcpu, 3, policy, Path("/sys/fs/cgroup"), "web")
        set_policy(vcpu, 2, fifo(9), Path("/sys/fs/cgroup"), "web")
        found.append(read_policies(vcpu))
    assert [{3: policy} for policy in (ORDINARY, fifo(3), fifo(4), ORDINARY)] == found


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    """A process with one vCPU, whose control group is known."""
    for number, name in ((77, "qemu-system-x86"), (81, "CPU 0/KVM")):
        task = tmp_path / "task" / str(number)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"{name}\n")
    (tmp_path / "task/81/stat").write_text(STAT)
    return str(tmp_path / "task")


def test_a_policy_is_read(tasks: str) -> None:
    """Of vCPUs alone."""
    assert {0: fifo(5)} == read_policies(tasks)


def test_what_is_no_policy(tasks: str) -> None:
    """A file that ends too early is named."""
    Path(tasks, "81/stat").write_text("81 (CPU 0/KVM) S 1")
    with pytest.raises(ValueError, match=r"81/stat ends after 2 fields"):
        read_policies(tasks)


@pytest.mark.parametrize(
    ("groups", "runtime_us", "remedy"),
    [
        pytest.param(V1_GROUPS, "0\n", "cpu/machine/qemu-1-x.libvirt-qemu/vcpu0/cpu.rt_runtime_us, and", id="no time"),
        pytest.param(V1_GROUPS, "950000\n", "RestrictRealtime=no", id="some time"),
        pytest.param(V1_GROUPS, None, "RestrictRealtime=no", id="no such limit"),
        pytest.param(V2_GROUPS, None, "RestrictRealtime=no", id="version 2"),
    ],
)
def test_the_kernel_refuses(
    tasks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, runtime_us: str | None, remedy: str
) -> None:
    """What to do is said: give the control group time, or the agent the right."""

    def refuse(_number: int, _policy: int, _parameters: os.sched_param) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    Path(tasks, "81/cgroup").write_text(groups.format(name="vcpu0"))
    if runtime_us is not None:
        group = tmp_path / "cpu/machine/qemu-1-x.libvirt-qemu/vcpu0"
        group.mkdir(parents=True)
        (group / "cpu.rt_runtime_us").write_text(runtime_us)
    with pytest.raises(exceptions.KernelError, match="run vCPU 0 of web by SCHED_FIFO 5") as caught:
        set_policy(tasks, 0, fifo(5), tmp_path, "web")
    assert remedy in str(caught.value)


def test_a_thread_that_has_ended(tasks: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Needs nothing any more."""
    asked = []

    def gone(number: int, policy: int, parameters: os.sched_param) -> None:
        asked.append((number, Policy(policy, parameters.sched_priority)))
        raise ProcessLookupError(errno.ESRCH, "No such process")

    monkeypatch.setattr(os, "sched_setscheduler", gone)
    set_policy(tasks, 0, fifo(5), tmp_path, "web")
    assert [(81, fifo(5))] == asked

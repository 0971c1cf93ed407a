# SPDX-License-Identifier: Apache-2.0
"""The scheduling policies of a guest's vCPUs, as the kernel has them."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.host.proc_files import group_of, read_file, vcpu_tasks
from kongming_sched.agent.model.policy import Policy

_PRIORITY, _POLICY = 37, 38
"""Which fields rt_priority and policy are of those behind the name in /proc/PID/stat; see proc_pid_stat(5)."""


def read_policies(tasks: str) -> dict[int, Policy]:
    """The policy of each vCPU.

    :param tasks: the path of the threads of QEMU's process
    :raises OSError: if a thread cannot be read
    :raises ValueError: if what is read is no policy
    """
    policies = {}
    for vcpu, task in vcpu_tasks(tasks):
        fields = read_file(f"{task}/stat").rpartition(b")")[2].split()
        if len(fields) <= _POLICY:
            raise ValueError(f"{task}/stat ends after {len(fields)} fields")
        policies[vcpu] = Policy(int(fields[_POLICY]), int(fields[_PRIORITY]))
    return policies


def set_policy(tasks: str, vcpu: int, policy: Policy, cgroup: Path, guest: str) -> None:
    """Run a vCPU by another policy; nothing is done if its thread has ended.

    :param tasks: the path of the threads of QEMU's process
    :param cgroup: where the control groups are
    :param guest: its name, for the error
    :raises KernelError: if the kernel refuses
    :raises OSError: if a thread cannot be read
    """
    for number, task in vcpu_tasks(tasks):
        if number != vcpu:
            continue
        try:
            os.sched_setscheduler(int(Path(task).name), policy.number, os.sched_param(policy.priority))
        except ProcessLookupError:
            return
        except OSError as error:
            reason = str(error)
            if error.errno == errno.EPERM and policy.is_realtime:
                reason += f"; {_remedy(task, cgroup)}"
            raise exceptions.KernelError(f"run vCPU {vcpu} of {guest} by {policy}", reason) from error


def _remedy(task: str, cgroup: Path) -> str:
    """What to do where the kernel does not allow real time, which has two reasons."""
    group = cgroup / "cpu" / group_of(task, "cpu").lstrip("/")
    with contextlib.suppress(OSError):  # which is not there with version 2, or without CONFIG_RT_GROUP_SCHED
        if (group / "cpu.rt_runtime_us").read_text().strip() == "0":
            return f"give {group}/cpu.rt_runtime_us, and that of each group above it, a part of cpu.rt_period_us"
    return "the agent's unit must have CAP_SYS_NICE and RestrictRealtime=no, and admit sched_setscheduler"

# SPDX-License-Identifier: Apache-2.0
"""The machines that a cloud's hosts are: this one, or an emulated one. Both are looked at the same way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kongming_sched.cpuset import CpuSet
from testbed.numa_host import kernel_view
from testbed.numa_host.command_client import Caller


@dataclass(frozen=True)
class Kernel:
    """A guest's threads and memory in /proc.

    :ivar vcpus: vCPU to host CPUs
    :ivar memory: NUMA node to how many pages of its memory lie there
    """

    pid: int
    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet
    memory: Mapping[int, int] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, described: Mapping[str, Any] | None) -> Kernel | None:
        """What testbed.numa_host.kernel_view has described."""
        if described is None:
            return None
        vcpus = {int(vcpu): CpuSet.parse(cpus) for vcpu, cpus in described["vcpus"].items()}
        memory = {int(node): pages for node, pages in described["memory"].items()}
        return cls(described["pid"], vcpus, CpuSet.parse(described["emulator"]), memory)


@dataclass(frozen=True)
class HostCpus:
    """A machine's CPUs.

    :ivar siblings: CPU to the hardware threads of its core
    :ivar nodes: NUMA node to its CPUs
    """

    online: CpuSet
    siblings: Mapping[int, CpuSet]
    nodes: Mapping[int, CpuSet]

    @classmethod
    def parse(cls, described: Mapping[str, Any]) -> HostCpus:
        """What testbed.numa_host.kernel_view has described."""
        siblings, nodes = (
            {int(number): CpuSet.parse(cpus) for number, cpus in described[name].items()}
            for name in ("siblings", "nodes")
        )
        return cls(CpuSet.parse(described["online"]), siblings, nodes)

    @property
    def threads_per_core(self) -> int:
        """How many hardware threads the last core has."""
        return len(self.siblings[max(self.online)])


class ThisMachine:
    """The machine that the scenarios run on, which all hosts in namespaces share.

    :ivar kind: how the table calls it
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def cpus(self) -> HostCpus:
        """Its CPUs."""
        return HostCpus.parse(kernel_view.describe_host())

    def kernel_view(self, server: str) -> Kernel | None:
        """A guest, if it runs here."""
        return Kernel.parse(kernel_view.describe_guest(server))

    def kill(self, pid: int) -> None:
        """Kill a process at once."""
        os.kill(pid, signal.SIGKILL)


class EmulatedMachine:
    """A virtual machine of tools/cloud up --numa-host."""

    kind = "numa-host"

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def cpus(self) -> HostCpus:
        """Its CPUs."""
        return HostCpus.parse(json.loads(self._run("python3", "-m", "testbed.numa_host.kernel_view")))

    def kernel_view(self, server: str) -> Kernel | None:
        """A guest, if it runs there."""
        return Kernel.parse(json.loads(self._run("python3", "-m", "testbed.numa_host.kernel_view", server)))

    def kill(self, pid: int) -> None:
        """Kill a process at once."""
        self._run("kill", "-KILL", str(pid))

    def _run(self, *command: str) -> str:
        done = self._caller.run(command)
        assert done.returncode == 0, done.stderr
        return done.stdout


Machine = ThisMachine | EmulatedMachine

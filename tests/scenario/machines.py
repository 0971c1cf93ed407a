# SPDX-License-Identifier: Apache-2.0
"""The machines that a cloud's hosts are: this one, or an emulated one. Both are read in the same way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kongming_sched.cpuset import CpuSet
from testbed.cloud import clients, emulated_host
from testbed.cloud.plan import Plan
from testbed.lab.process import REPOSITORY
from testbed.numa_host import kernel_view, space
from testbed.numa_host.command_client import Caller


@dataclass(frozen=True)
class Kernel:
    """A guest's threads and memory in /proc.

    :ivar vcpus: vCPU to host CPUs
    :ivar iothreads: libvirt's id of an I/O thread to host CPUs
    :ivar memory: NUMA node to how many pages of its memory lie there
    :ivar helpers: the CPUs of all other threads
    :ivar huge_pages: size in KiB to how many huge pages lie on which NUMA node
    """

    pid: int
    vcpus: Mapping[int, CpuSet]
    emulator: CpuSet
    iothreads: Mapping[int, CpuSet] = field(default_factory=dict)
    memory: Mapping[int, int] = field(default_factory=dict, compare=False)
    helpers: CpuSet = field(default_factory=CpuSet, compare=False)
    huge_pages: Mapping[int, Mapping[int, int]] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, described: Mapping[str, Any] | None) -> Kernel | None:
        """What testbed.numa_host.kernel_view has described."""
        if described is None:
            return None
        vcpus, iothreads = (
            {int(number): CpuSet.parse(cpus) for number, cpus in described[name].items()}
            for name in ("vcpus", "iothreads")
        )
        memory = {int(node): pages for node, pages in described["memory"].items()}
        huge = {
            int(size): {int(node): count for node, count in on.items()} for size, on in described["huge_pages"].items()
        }
        emulator, helpers = (CpuSet.parse(described[name]) for name in ("emulator", "helpers"))
        return cls(described["pid"], vcpus, emulator, iothreads, memory, helpers, huge)


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

    def run(self, plan: Plan, host: str, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the cloud on one of the hosts in namespaces."""
        enter: list[str | Path] = [sys.executable, "-m", "testbed.cloud.compute_host", "enter", plan.directory, host]
        command = [*enter, clients.PROGRAMS / program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


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

    def run(self, _plan: Plan, host: str, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the package on one of its hosts."""
        return self._caller.run(space.entering(host, ["python3", emulated_host.SITE_PROGRAMS / program, *arguments]))

    def _run(self, *command: str) -> str:
        done = self._caller.run(command)
        assert done.returncode == 0, done.stderr
        return done.stdout


Machine = ThisMachine | EmulatedMachine

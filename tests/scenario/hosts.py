# SPDX-License-Identifier: Apache-2.0
"""The hosts of a cloud as the scenarios see them: their libvirt, and the kernel of the machine that they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import libvirt

from testbed.cloud import emulated_host
from testbed.cloud.ini import configuration_folder
from testbed.cloud.plan import Plan
from testbed.cloud.readiness import libvirt_uri
from tests.scenario.events import Stopwatch, start_loop
from tests.scenario.machines import EmulatedMachine, HostCpus, Machine, ThisMachine

PATIENCE_SECONDS = 240.0
"""How long anything may take on a host that is no slower than this machine."""

SLOW_PATIENCE_SECONDS = 1200.0
"""On an emulated one, which is slow and now and then stalls."""

CONFIGURATION_FILES = ("nova.conf", "kongming-agent.conf")


class Hosts:
    """The hosts of a cloud that have a libvirt.

    :ivar libvirts: connections by host; empty where the cloud's services are not this machine's
    :ivar patience_seconds: how long anything may take here
    """

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._here = ThisMachine(plan.virt_type if plan else "a host of this cloud")
        self._emulated = (
            {host: EmulatedMachine(emulated_host.caller(plan)) for host in plan.emulated_hosts} if plan else {}
        )
        self._cpus: dict[str, HostCpus] = {}
        self.patience_seconds = SLOW_PATIENCE_SECONDS if self._emulated else PATIENCE_SECONDS
        self.libvirts: dict[str, Any] = {}
        self.stopwatch = Stopwatch(())
        if plan:
            start_loop()
            for host in (*plan.libvirt_hosts, *plan.emulated_hosts):
                self.connect(host)

    def connect(self, host: str) -> None:
        """Open a host's libvirt, again if its daemon was restarted."""
        assert self._plan
        self.libvirts[host] = libvirt.open(libvirt_uri(self._plan, host))
        self.stopwatch.listen(self.libvirts[host])

    def is_emulated(self, host: str) -> bool:
        """Whether a host is not this machine."""
        return host in self._emulated

    def names(self, emulated: bool) -> list[str]:
        """The hosts that are emulated, or those that are not; if there are none of these, all."""
        return [host for host in self.libvirts if self.is_emulated(host) == emulated] or list(self.libvirts)

    def machine(self, host: str) -> Machine:
        """What a host is."""
        return self._emulated.get(host, self._here)

    def verify(self, host: str, server: str) -> dict[str, dict[str, str]]:
        """What ``kongming-host verify`` reports of a server: what is compared to the row of the table."""
        text = self._run(host, "kongming-host", "verify", "-f", "json")
        return {row["What"]: row for row in json.loads(text) if server in row["Subject"]}

    def check(self, host: str) -> str:
        """What ``kongming-agent --check`` finds wrong on a host, or right."""
        return self._run(host, "kongming-agent", "--check")

    def configuration_file(self, host: str, name: str) -> Path:
        """The nova.conf or kongming-agent.conf of a host."""
        assert self._plan
        return configuration_folder(self._plan, host) / name

    def _run(self, host: str, program: str, *arguments: str) -> str:
        """What a program prints that is given the host's configuration."""
        assert self._plan
        files = [
            word for name in CONFIGURATION_FILES for word in ("--config-file", self.configuration_file(host, name))
        ]
        done = self.machine(host).run(self._plan, host, program, *arguments, *files)
        assert done.stdout, done.stderr
        return done.stdout

    def cpus(self, host: str) -> HostCpus:
        """The CPUs of a host, which stay as they are."""
        if host not in self._cpus:
            self._cpus[host] = self.machine(host).cpus()
        return self._cpus[host]

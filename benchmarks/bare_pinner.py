# SPDX-License-Identifier: Apache-2.0
"""The least that can be done for a guest that starts: libvirt's event, and then one call after the other.

``python -m benchmarks.bare_pinner VCPUS VCPU_CPU EMULATOR_CPU`` pins every guest that starts, until it is killed. It
knows nothing of templates, of other guests or of Placement, asks nobody and looks at nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import libvirt

from testbed.lab.hypervisor import URI

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


def main() -> None:
    """Pin until killed."""
    vcpus, cpu, emulator_cpu = map(int, sys.argv[1:])
    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open(URI)
    count = connection.getCPUMap()[0]
    cpus = tuple(index == cpu for index in range(count))
    emulator_cpus = tuple(index == emulator_cpu for index in range(count))

    def pin(_connection: Any, domain: Any, event: int, _detail: int, _opaque: object) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            for vcpu in range(vcpus):
                domain.pinVcpuFlags(vcpu, cpus, LIVE)
            domain.pinEmulator(emulator_cpus, LIVE)
            domain.pinIOThread(1, emulator_cpus, LIVE)

    connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, pin, None)
    connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, lambda *_: None, None)  # as the agent
    print("ready", flush=True)
    while True:
        libvirt.virEventRunDefaultImpl()


if __name__ == "__main__":
    main()

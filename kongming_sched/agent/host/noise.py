# SPDX-License-Identifier: Apache-2.0
"""Reads what a host does with its CPUs beside running guests: interrupts, isolation, clock and idle states.

What a kernel does not have, or does not show, is left out: a virtual machine, for one, has no governors.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.model.noise import HostNoise, IdleState, Interrupt
from kongming_sched.cpuset import CpuSet
from kongming_sched.texts.whole_number import find_whole_number

_CPUS = "sys/devices/system/cpu"
_INTERRUPTS = "proc/irq"
_IRQBALANCE = ("etc/default/irqbalance", "etc/sysconfig/irqbalance", "etc/irqbalance.env")
"""What distributions have irqbalance read for its environment."""
_BANNED = re.compile(r"^\s*(?:export\s+)?IRQBALANCE_BANNED_CPULIST=[\"']?([0-9,-]+)", re.MULTILINE)
_LATENCIES_US = range(2**31)


def read_noise(cpus: CpuSet, root: Path = Path("/")) -> HostNoise:
    """What disturbs CPUs, or may.

    :param cpus: those whose clock and idle states are read
    :param root: of the file system
    """
    governors: dict[str, CpuSet] = {}
    states: dict[IdleState, CpuSet] = {}
    limit_us = _latency_of_all(root / "dev/cpu_dma_latency")
    for cpu in cpus:
        folder = root / _CPUS / f"cpu{cpu}"
        if governor := _text(folder / "cpufreq/scaling_governor"):
            governors[governor] = governors.get(governor, CpuSet()) | CpuSet.of([cpu])
        for state in _idle_states(folder, limit_us):
            states[state] = states.get(state, CpuSet()) | CpuSet.of([cpu])
    isolated = _cpus(root / _CPUS / "isolated")
    return HostNoise(isolated, tuple(read_interrupts(root)), governors, states, _banned(root))


def read_interrupts(root: Path = Path("/")) -> Iterator[Interrupt]:
    """Every interrupt that has a handler, by number; each handler is a folder with its name."""
    folder = root / _INTERRUPTS
    numbers = [int(path.name) for path in _entries(folder) if path.name.isdecimal()]
    for number in sorted(numbers):
        path = folder / str(number)
        names = tuple(sorted(entry.name for entry in _entries(path) if entry.is_dir()))
        allowed = _cpus(path / "smp_affinity_list")
        if names and allowed:
            yield Interrupt(number, names, allowed, _cpus(path / "effective_affinity_list") or allowed)


def move_interrupt(number: int, cpus: CpuSet, root: Path = Path("/")) -> None:
    """Let an interrupt be served by these CPUs only.

    :raises OSError: if the kernel spreads it by itself, as queues of devices, or it is gone
    """
    descriptor = os.open(root / _INTERRUPTS / f"{number}/smp_affinity_list", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{cpus}\n".encode())
    finally:
        os.close(descriptor)


def _idle_states(folder: Path, limit_us: int) -> Iterator[IdleState]:
    """The idle states that a CPU may enter: those that are not switched off, and that no limit on latency forbids.

    :param folder: of the CPU
    :param limit_us: of all CPUs
    """
    # "n/a" allows no state but the one that takes no time, and 0 stands for no limit.
    asked = _text(folder / "power/pm_qos_resume_latency_us")
    own_us = 0 if asked == "n/a" else _number(folder / "power/pm_qos_resume_latency_us") or _LATENCIES_US.stop
    for state in sorted(_entries(folder / "cpuidle")):
        latency_us = _number(state / "latency")
        if latency_us is not None and latency_us <= min(limit_us, own_us) and not _number(state / "disable"):
            yield IdleState(_text(state / "name") or state.name, latency_us)


def _banned(root: Path) -> CpuSet | None:
    """The CPUs that irqbalance leaves alone by its files; None if it does not run."""
    if not _entries(root / "run/irqbalance"):
        return None
    for name in _IRQBALANCE:
        if found := _BANNED.search(_text(root / name)):
            with contextlib.suppress(exceptions.InvalidCpuSet):
                return CpuSet.parse(found[1])
    return CpuSet()


def _latency_of_all(path: Path) -> int:
    """The limit that a program, as tuned, holds for all CPUs, in microseconds: the device gives 32 bits and a sign."""
    with contextlib.suppress(OSError, struct.error), path.open("rb", buffering=0) as device:
        return int(struct.unpack("=i", device.read(4) or b"")[0])
    return _LATENCIES_US.stop


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _number(path: Path) -> int | None:
    return find_whole_number(_text(path), _LATENCIES_US)


def _cpus(path: Path) -> CpuSet:
    with contextlib.suppress(exceptions.InvalidCpuSet):
        return CpuSet.parse(_text(path))
    return CpuSet()

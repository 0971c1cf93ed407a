# SPDX-License-Identifier: Apache-2.0
"""The virtual machine: two sockets, each a NUMA node with two cores of two threads."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from testbed.lab.hypervisor import kvm_runs_firmware
from testbed.lab.process import ChildProcess, LabError
from testbed.numa_host.image import Image, run_program

NODES = (0, 1)
NODE_MEMORY_MB = 2048
"""Beside the huge pages.

The machine has 2 GiB below the hole for devices, and the rest above 4 GiB. With this much the first node has a whole
page of 1 GiB above the hole; with less the kernel finds none there, and takes one of the other node without a word.
"""

HUGE_PAGES = {1 << 20: 1, 2 << 10: 256}
"""How many huge pages each node has, by their size in KiB: those that a processor lacks the kernel leaves out."""

RESULTS_BYTES = 64 << 20

_ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max,vendor=GenuineIntel"],
}
_BARE = ["-machine", "q35", "-nodefaults", "-display", "none", "-no-reboot"]
_PROBE_SECONDS = 10


def choose_accelerator(image: Image) -> str:
    """KVM if it really runs the kernel: there are machines where it runs a firmware and nothing more."""
    return "kvm" if kvm_runs_firmware() and _kvm_runs_kernel(image.kernel) else "tcg"


def _kvm_runs_kernel(kernel: Path) -> bool:
    serial = ["-m", "512", "-serial", "stdio", "-kernel", str(kernel)]
    speak_early = ["-append", "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1"]
    command = ["qemu-system-x86_64", *_ACCELERATORS["kvm"], *_BARE, *serial, *speak_early]
    done = subprocess.run(
        ["timeout", str(_PROBE_SECONDS), *command], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return b"Linux version" in done.stdout


def run(
    image: Image, accelerator: str, parcel: Path, logs: Path, say: Callable[[str], None], timeout_seconds: float
) -> None:
    """Boot, pass on what is said on the second serial line, and unpack what is left behind.

    :param logs: where console, report and results go
    :raises LabError: if the machine does not switch itself off in time
    """
    with tempfile.NamedTemporaryFile(prefix="results-", dir=logs) as results:
        os.truncate(results.name, RESULTS_BYTES)
        report = logs / "report"
        report.touch()
        command = [*command_line(image.kernel, accelerator, "kongming=proof", quiet=True)]
        for name, path in (("root", image.disk), ("parcel", parcel), ("results", Path(results.name))):
            command += disk(name, path, ",snapshot=on" if name == "root" else "")
        command += ["-serial", f"file:{logs / 'console'}", "-serial", f"file:{report}"]
        with ChildProcess("qemu", command, logs) as machine:
            _relay(machine, report, say, timeout_seconds)
        unpacked = logs / "results"
        unpacked.mkdir()
        run_program(["tar", "-xf", results.name, "-C", unpacked])


def _relay(machine: ChildProcess, report: Path, say: Callable[[str], None], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    with report.open(encoding="utf-8", errors="replace", newline="") as lines:
        line = ""
        while True:
            alive = machine.is_alive
            while part := lines.readline():
                line += part
                if line.endswith("\n"):
                    say(line.rstrip("\r\n"))
                    line = ""
            if not alive:
                return
            if time.monotonic() > deadline:
                raise LabError(f"the emulated host has not come to an end in {timeout_seconds:g} s")
            time.sleep(0.2)


def command_line(kernel: Path, accelerator: str, words: str, quiet: bool = False) -> list[str]:
    """QEMU with the host, but without its disks and lines.

    :param words: for the first process, on the kernel's command line
    """
    node_mb = NODE_MEMORY_MB + sum(size_kib * count for size_kib, count in HUGE_PAGES.items()) // 1024
    command = ["qemu-system-x86_64", *_ACCELERATORS[accelerator], *_BARE]
    command += ["-m", str(len(NODES) * node_mb), "-smp", "8,sockets=2,cores=2,threads=2"]
    for node, cpus in zip(NODES, ("0-3", "4-7"), strict=True):
        command += ["-object", f"memory-backend-ram,id=memory{node},size={node_mb}M"]
        command += ["-numa", f"node,nodeid={node},cpus={cpus},memdev=memory{node}"]
    # Without the kernel's own balancing no page moves by itself. Its mitigations guard against nobody in here, and
    # flush the emulated translation buffers at every system call. Its check of the timer panics where the emulator gets
    # no CPU for as long as it waits for a tick. A kernel at a random place could lie in the only piece of 1 GiB.
    boot = "console=ttyS0 root=/dev/nvme0n1 rw init=/init panic=-1"
    calm = "numa_balancing=disable mitigations=off no_timer_check nokaslr"
    append = f"{boot} {calm} {_huge_page_words()}{' quiet' * quiet} {words}"
    return [*command, "-kernel", str(kernel), "-append", append]


def _huge_page_words() -> str:
    """What has the kernel set huge pages aside while there is memory in one piece."""
    return " ".join(
        f"hugepagesz={size_kib}K hugepages={','.join(f'{node}:{count}' for node in NODES)}"
        for size_kib, count in HUGE_PAGES.items()
    )


def disk(name: str, path: Path, more: str = "", form: str = "raw") -> list[str]:
    """The words that give a host one more disk."""
    drive = f"file={path},if=none,id={name},format={form}{more}"
    return ["-drive", drive, "-device", f"nvme,serial={name},drive={name}"]

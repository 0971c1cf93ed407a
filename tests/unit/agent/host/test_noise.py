# SPDX-License-Identifier: Apache-2.0
"""What a host does with its CPUs beside running guests, read from files laid out as the kernel lays them out."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kongming_sched.agent.host.noise import move_interrupt, read_noise
from kongming_sched.agent.model.noise import HostNoise, IdleState, Interrupt
from kongming_sched.cpuset import CpuSet

CPUS = CpuSet.parse("2-3")
C1, C6 = IdleState("C1", 2), IdleState("C6", 133)


def write(root: Path, files: dict[str, str]) -> None:
    """Files with their contents."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def cpu(number: int, governor: str = "powersave") -> dict[str, str]:
    """A CPU that has a clock and two idle states."""
    folder = f"sys/devices/system/cpu/cpu{number}"
    files = {f"{folder}/cpufreq/scaling_governor": governor, f"{folder}/power/pm_qos_resume_latency_us": "0"}
    for index, state in enumerate((C1, C6)):
        values = {"name": state.name, "latency": str(state.latency_us), "disable": "0"}
        files |= {f"{folder}/cpuidle/state{index}/{name}": value for name, value in values.items()}
    return files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host of CPUs 2 and 3."""
    write(tmp_path, cpu(2) | cpu(3, "performance"))
    return tmp_path


def test_nothing_is_there(tmp_path: Path) -> None:
    """What a kernel does not have disturbs nobody."""
    assert HostNoise() == read_noise(CPUS, tmp_path)


def test_isolated_cpus(tmp_path: Path) -> None:
    """The kernel lists them, with an empty line where there are none."""
    write(tmp_path, {"sys/devices/system/cpu/isolated": "2,6-7"})
    some = read_noise(CPUS, tmp_path).isolated
    write(tmp_path, {"sys/devices/system/cpu/isolated": ""})

    assert (CpuSet.parse("2,6-7"), CpuSet()) == (some, read_noise(CPUS, tmp_path).isolated)


def test_interrupts(tmp_path: Path) -> None:
    """Those that have a handler, by number; without an effective affinity the one that is allowed stands for it."""
    write(
        tmp_path,
        {
            "proc/irq/default_smp_affinity": "ff",
            "proc/irq/124/smp_affinity_list": "0-7",
            "proc/irq/124/effective_affinity_list": "3",
            "proc/irq/124/eth0-rx-3/spurious": "",
            "proc/irq/9/smp_affinity_list": "0-1",
            "proc/irq/9/acpi/spurious": "",
            "proc/irq/9/pciehp/spurious": "",
            "proc/irq/7/smp_affinity_list": "0-7",
        },
    )

    everywhere, low = CpuSet.parse("0-7"), CpuSet.parse("0-1")
    assert (
        Interrupt(9, ("acpi", "pciehp"), low, low),
        Interrupt(124, ("eth0-rx-3",), everywhere, CpuSet.of([3])),
    ) == read_noise(CPUS, tmp_path).interrupts


def test_governors(root: Path) -> None:
    """Each with its CPUs; those that are not asked for are not read."""
    write(root, cpu(4, "ondemand"))

    assert {"powersave": CpuSet.of([2]), "performance": CpuSet.of([3])} == read_noise(CPUS, root).governors


def test_idle_states(root: Path) -> None:
    """Each with the CPUs that may enter it."""
    assert {C1: CPUS, C6: CPUS} == read_noise(CPUS, root).idle_states


@pytest.mark.parametrize(
    ("file", "text", "deep"),
    [
        pytest.param("cpuidle/state1/disable", "1", "3", id="it is switched off"),
        pytest.param("power/pm_qos_resume_latency_us", "100", "3", id="the CPU has to be back sooner"),
        pytest.param("power/pm_qos_resume_latency_us", "200", "2-3", id="the CPU is back soon enough"),
        pytest.param("power/pm_qos_resume_latency_us", "n/a", "3", id="the CPU may take no time"),
        pytest.param("cpuidle/state1/latency", "?", "3", id="the kernel says nothing that can be read"),
    ],
)
def test_idle_state_that_a_cpu_does_not_enter(root: Path, file: str, text: str, deep: str) -> None:
    """One that is switched off, or takes longer than the CPU may."""
    write(root, {f"sys/devices/system/cpu/cpu2/{file}": text})

    assert CpuSet.parse(deep) == read_noise(CPUS, root).idle_states[C6]


@pytest.mark.parametrize(("limit_us", "expected"), [(1, set()), (2, {C1}), (2_000_000_000, {C1, C6})])
def test_limit_of_all_cpus(root: Path, limit_us: int, expected: set[IdleState]) -> None:
    """A program that holds the device, as tuned, keeps all CPUs from deeper states."""
    (root / "dev").mkdir()
    (root / "dev/cpu_dma_latency").write_bytes(struct.pack("=i", limit_us))

    assert expected == read_noise(CPUS, root).idle_states.keys()


def test_this_machine() -> None:
    """The real files can be read, whatever is in them; each interrupt is served where it may be."""
    noise = read_noise(CpuSet.of([0]))

    assert all(interrupt.effective for interrupt in noise.interrupts)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("etc/default/irqbalance", "# IRQBALANCE_BANNED_CPULIST=9", "", id="a comment"),
        pytest.param("etc/default/irqbalance", "X=1\nIRQBALANCE_BANNED_CPULIST=2-3,7", "2-3,7", id="Debian"),
        pytest.param("etc/sysconfig/irqbalance", 'export IRQBALANCE_BANNED_CPULIST="2"', "2", id="Red Hat"),
        pytest.param("etc/default/irqbalance", "IRQBALANCE_BANNED_CPULIST=3-2", "", id="no CPUs"),
    ],
)
def test_cpus_that_irqbalance_leaves_alone(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """By its files, while it runs."""
    write(tmp_path, {name: text})
    before = read_noise(CPUS, tmp_path).banned
    write(tmp_path, {"run/irqbalance/irqbalance1.sock": ""})

    assert (None, CpuSet.parse(expected) if expected else CpuSet()) == (before, read_noise(CPUS, tmp_path).banned)


def test_interrupt_is_moved(tmp_path: Path) -> None:
    """The kernel is handed a list."""
    write(tmp_path, {"proc/irq/24/smp_affinity_list": "0-127"})

    move_interrupt(24, CpuSet.parse("0-1,4"), tmp_path)

    assert "0-1,4\n" == (tmp_path / "proc/irq/24/smp_affinity_list").read_text()


def test_interrupt_that_is_gone(tmp_path: Path) -> None:
    """Nothing is made in its place."""
    with pytest.raises(FileNotFoundError):
        move_interrupt(24, CPUS, tmp_path)
    assert [] == list(tmp_path.iterdir())

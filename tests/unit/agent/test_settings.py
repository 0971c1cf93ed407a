# SPDX-License-Identifier: Apache-2.0
"""The agent's options as checked values."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.settings import placement_adapter, read_settings
from kongming_sched.conf import agent
from kongming_sched.cpuset import CpuSet
from testbed.topologies import one_node_smt2


def configure(tmp_path: Path, text: str) -> cfg.ConfigOpts:
    """Options as they are read from a file."""
    path = tmp_path / "agent.conf"
    path.write_text(text)
    conf = cfg.ConfigOpts()
    agent.register_opts(conf)
    conf([], default_config_files=[str(path)])
    return conf


def test_defaults(tmp_path: Path) -> None:
    """Without options nothing is given away, and every CPU is for the housekeeping."""
    settings = read_settings(configure(tmp_path, ""))

    pools = settings.host_cpus(one_node_smt2()).pools

    assert (CpuSet(), CpuSet(), CpuSet.parse("0-7")) == (pools.dedicated, pools.shared, pools.housekeeping)
    assert (None, "qemu:///system", 30) == (settings.host, settings.libvirt_uri, settings.interval_seconds)


def test_housekeeping_is_what_is_left(tmp_path: Path) -> None:
    """By default the housekeeping has what neither the dedicated pool nor Nova's dedicated set has."""
    conf = configure(tmp_path, "[kongming_agent]\ndedicated_cpu_set = 1,5\n[compute]\ncpu_dedicated_set = 2,6\n")

    assert CpuSet.parse("0,3-4,7") == read_settings(conf).host_cpus(one_node_smt2()).pools.housekeeping


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "[kongming_agent]\ndedicated_cpu_set = 1-x\n",
            r"option dedicated_cpu_set: '1-x' is not a CPU set: '1-x' is neither a number nor a range",
            id="no CPU set",
        ),
        pytest.param(
            "[kongming_agent]\ndedicated_cpu_set = 1,5\n[compute]\ncpu_shared_set = 0-1\n",
            r"option \[kongming_agent\] dedicated_cpu_set: CPU 1 is in nova.conf's \[compute\] cpu_shared_set too",
            id="Nova's shared set",
        ),
        pytest.param(
            "[kongming_agent]\nshared_cpu_set = 2-4\n[compute]\ncpu_dedicated_set = 4-7\n",
            r"option \[kongming_agent\] shared_cpu_set: CPU 4 is in nova.conf's \[compute\] cpu_dedicated_set too",
            id="Nova's dedicated set",
        ),
        pytest.param(
            "[compute]\ncpu_shared_set = ^^\n",
            r"option \[compute\] cpu_shared_set: '\^\^' is not a CPU set",
            id="Nova's option cannot be read",
        ),
    ],
)
def test_refused_without_the_host(tmp_path: Path, text: str, message: str) -> None:
    """Sets that cannot be read, or that Nova gives away too, are refused by the name of the option."""
    with pytest.raises(exceptions.ConfigurationError, match=message):
        read_settings(configure(tmp_path, text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param("dedicated_cpu_set = 1", "CPU 1 is in the pool and its sibling 5 is not", id="half a core"),
        pytest.param("dedicated_cpu_set = 1,5,9", "this host has no CPU 9; it has 0-7", id="CPU that is not there"),
        pytest.param("dedicated_cpu_set = 0-7", "no online CPU is left", id="nothing left for the emulator"),
        pytest.param("dedicated_cpu_set = 1,5\nshared_cpu_set = 4-5", "CPU 5 is in dedicated_cpu_set", id="overlap"),
    ],
)
def test_refused_on_the_host(tmp_path: Path, options: str, message: str) -> None:
    """Pools that the host cannot have are refused by the name of the option."""
    settings = read_settings(configure(tmp_path, f"[kongming_agent]\n{options}\n"))

    with pytest.raises(exceptions.ConfigurationError, match=message):
        settings.host_cpus(one_node_smt2())


def test_placement_without_authentication(tmp_path: Path) -> None:
    """Without credentials the error says where they are to be had."""
    with pytest.raises(
        exceptions.ConfigurationError, match=r"\[placement\] auth_type: is not set; hand the agent nova"
    ):
        placement_adapter(configure(tmp_path, ""))


def test_placement_is_not_asked_at_once(tmp_path: Path) -> None:
    """An adapter can be had while Placement is away."""
    conf = configure(tmp_path, "[placement]\nauth_type = none\nendpoint_override = http://127.0.0.1:9/\n")

    assert "http://127.0.0.1:9/" == placement_adapter(conf).endpoint_override


def test_pages_that_nova_reserves(tmp_path: Path) -> None:
    """nova.conf names the huge pages of others than servers, a line for each."""
    text = "[DEFAULT]\nreserved_huge_pages = node:0,size:2048,count:64\nreserved_huge_pages = node:1,size:1GB,count:1\n"
    pools = read_settings(configure(tmp_path, text)).host_cpus(one_node_smt2()).pools
    assert [64, 0, 1] == [pools.reserved_of(*key) for key in ((0, 2048), (1, 2048), (1, 1048576))]

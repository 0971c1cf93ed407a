# SPDX-License-Identifier: Apache-2.0
"""What stands for Neutron, for ssh between hosts, and for what a fake host's hypervisor would know."""

from __future__ import annotations

import hashlib
from base64 import b64decode

import pytest

from kongming_sched.cpuset import CpuSet
from testbed.cloud.fake_agents import Server, choose_pools, read_topology, servers_by_host
from testbed.cloud.hosts import FAKE_TOPOLOGY
from testbed.cloud.infrastructure import password_hash
from testbed.cloud.neutron import answer
from testbed.cloud.remote_shell import operands, split_remote
from testbed.topologies import capabilities_xml, two_nodes_smt2


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2.0/ports?device_id=1", (200, {"ports": []})),
        ("/v2.0/security-groups", (200, {"security_groups": []})),
        ("/v2.0/extensions.json", (200, {"extensions": []})),
    ],
)
def test_there_is_nothing_in_the_network(path: str, expected: tuple[int, object]) -> None:
    """Each collection is empty, under the name that its documents have."""
    assert expected == answer(path)


def test_what_is_no_collection_is_not_found() -> None:
    """As a single port, which cannot be."""
    assert 404 == answer("/v2.0/ports/1")[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-o", "BatchMode=yes", "127.0.0.2", "mkdir", "-p", "/a"], ["127.0.0.2", "mkdir", "-p", "/a"]),
        (["-r", "/a/b", "127.0.0.2:/a/b"], ["/a/b", "127.0.0.2:/a/b"]),
        (["-C", "-r", "127.0.0.2:/a", "/b"], ["127.0.0.2:/a", "/b"]),
    ],
)
def test_options_of_ssh_and_scp_are_left_out(arguments: list[str], expected: list[str]) -> None:
    """Those of the remote command stay."""
    assert expected == operands(arguments)


@pytest.mark.parametrize(
    ("place", "expected"),
    [("127.0.0.2:/a/b", ("127.0.0.2", "/a/b")), ("/a/b", ("", "/a/b")), ("/a:b", ("", "/a:b"))],
)
def test_a_place_elsewhere_has_an_address(place: str, expected: tuple[str, str]) -> None:
    """A colon within a path makes none."""
    assert expected == split_remote(place)


def server(uuid: str, host: str | None, power_state: int) -> dict[str, object]:
    """A server as Nova's API shows it."""
    flavor: dict[str, object] = {"vcpus": 2, "extra_specs": {"kongming:template": "gold"}}
    states = {"OS-EXT-SRV-ATTR:host": host, "OS-EXT-STS:power_state": power_state}
    return {"id": uuid, "flavor": flavor, **states}


def test_guests_are_the_servers_that_run() -> None:
    """Neither those that are shut off nor those that have no host yet."""
    documents = [server("a", "fake01", 1), server("b", "fake01", 4), server("c", None, 0), server("d", "fake02", 1)]
    gold = {"kongming:template": "gold"}
    expected = {"fake01": frozenset([Server("a", 2, gold)]), "fake02": frozenset([Server("d", 2, gold)])}
    assert expected == servers_by_host(documents)


def test_a_fake_host_is_what_its_file_says() -> None:
    """In the words of libvirt's capabilities."""
    assert FAKE_TOPOLOGY == read_topology(capabilities_xml(FAKE_TOPOLOGY))


def test_a_fake_host_dedicates_all_cores_but_the_first_of_each_node() -> None:
    """Whole cores, with housekeeping CPUs on each node."""
    pools = choose_pools(two_nodes_smt2())
    assert (CpuSet.parse("1-3,5-7,9-11,13-15"), CpuSet.parse("0,4,8,12")) == (pools.dedicated, pools.housekeeping)


def test_a_password_is_hashed_as_rabbitmq_does() -> None:
    """The salt, then SHA-256 of salt and password."""
    raw = b64decode(password_hash("secret", b"salt"))
    assert (b"salt", hashlib.sha256(b"saltsecret").digest()) == (raw[:4], raw[4:])

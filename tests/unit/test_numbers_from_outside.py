# SPDX-License-Identifier: Apache-2.0
"""What others write for a number: each reader takes it as it is meant, or says that it is none, and never breaks."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched import exceptions
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.loop.orders import parse_order
from kongming_sched.agent.model.guest import Domain, identify, libvirt_pins
from kongming_sched.agent.settings import read_files
from kongming_sched.agent.state.reservations import incoming_guest
from kongming_sched.agent.telemetry.systemd import Systemd
from kongming_sched.cloud.compute import ComputeClient, Flavor
from kongming_sched.cloud.hosts import taken_of_host
from kongming_sched.cloud.nodes import node_id, nodes_of
from kongming_sched.cpuset import CpuSet
from kongming_sched.override import VcpuPins
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.codec import decode, encode
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.request import PinningRequest
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.whole_number import CPUS, find_whole_number, is_whole_number, read_whole_number
from kongming_sched.topology import HostTopology
from testbed.adapters import Answer, Canned
from testbed.simulated_host import domain_xml
from tests.present import present

UUID = "11111111-1111-4111-8111-111111111111"

ODD = {
    "5,000 digits": "9" * 5000,
    "12 digits": "9" * 12,
    "of another script": "٣",
    "as wide as an ideograph": "３",  # noqa: RUF001  # that is what it is
    "an exponent": "²",
    "an underscore": "1_0",
    "a plus": "+1",
    "space before": "\t1",
    "space inside": "1 1",
    "another base": "0x1",
    "a fraction": "1.0",
    "scientific": "1e3",
    "negative": "-3",
    "two signs": "--3",
    "infinite": "Infinity",
    "a letter": "l",
}


def _summary(**traits_and_more: Any) -> ProviderSummary:
    return ProviderSummary(UUID, UUID, None, frozenset(traits_and_more.get("traits", ())), {}, {})


def _specs(**more: str) -> dict[str, str]:
    """A flavor's extra specs for a template of one cell."""
    return {"kongming:template": "gold", "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "2", **more}


def _domain(xml: str) -> Domain:
    return Domain(UUID, "instance-1", xml)


def _guest(specs: Mapping[str, str], tail: str = "") -> str:
    return domain_xml("instance-1", UUID, 2, specs).replace("</domain>", tail + "</domain>")


def _capabilities(text: str, *, cell: str = "0", cpu: str = "3", memory: str = "2048", level: str = "3") -> int:
    """Read a host of which one of these is the text."""
    values = {"cell": cell, "cpu": cpu, "memory": memory, "level": level}
    xml = (
        "<capabilities><host><topology><cells><cell id='{cell}'><memory>{memory}</memory><cpus><cpu id='{cpu}'/></cpus>"
        "</cell></cells></topology><cache><bank level='{level}' cpus='3'/></cache></host></capabilities>"
    ).format(**{name: text if value == "?" else value for name, value in values.items()})
    HostTopology.from_capabilities(xml, CpuSet.of([3]))
    return 3


def _flavor(text: str, field: str) -> int:
    """Read Nova's list of flavors, in one of which the text stands."""
    item = {"id": "1", "name": "f", "vcpus": 1, "ram": 1, "disk": 0, "OS-FLV-EXT-DATA:ephemeral": 0, "swap": ""}
    body = json.dumps({"flavors": [item | {"extra_specs": {}, field: "?"}]})
    answer = Answer(200, body.replace('"?"', text))
    list(ComputeClient(lambda: Canned(answer)).flavors())
    return 3


def _placement(text: str, template: str, ask: Callable[[PlacementClient], object]) -> int:
    """Read an answer of Placement's in which the text stands as a number."""
    ask(PlacementClient(Canned(Answer(200, template.replace("?", text)))))
    return 3


def _pid(text: str) -> int:
    """Read the file of a guest's process id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_text", lambda _self, *_args, **_kwargs: text)
        patch.setattr(Path, "read_bytes", lambda _self: UUID.encode())
        return Host().find_pid(Domain(UUID, "instance-1", ""))


def _inventory(text: str, field: str) -> int:
    item = {"total": 3, "reserved": 0, "allocation_ratio": 1.0} | {field: "?"}
    body = json.dumps({"inventories": {"PCPU": item}}).replace('"?"', "?")
    return _placement(text, body, lambda client: client.inventories(UUID))


PROVIDER = {"uuid": UUID, "name": "n", "generation": "?", "root_provider_uuid": UUID, "parent_provider_uuid": None}
SUMMARY: dict[str, object] = {
    "root_provider_uuid": UUID,
    "parent_provider_uuid": None,
    "traits": [],
    "resources": {names.NODE: {"capacity": "?", "used": 0}},
}

REFUSING: dict[str, Callable[[str], object]] = {
    "a number": lambda text: read_whole_number(text, CPUS),
    "a CPU set": lambda text: CpuSet.parse(text).first,
    "the pins of a server's metadata": lambda text: present(VcpuPins.parse(f"0:{text}").groups[0][1]).first,
    "the vCPUs of a server's metadata": lambda text: present(VcpuPins.parse(f"{text}:1").groups[0][0]).first,
    "an amount of a flavor's group": lambda text: (
        present(PinningRequest.from_extra_specs(_specs(**{"resources_KONGMING0:CUSTOM_KONGMING_PCPU": text})))
        .cells[0]
        .resources[names.PCPU]
    ),
    "the vCPUs of a domain": lambda text: identify(_domain(f"<domain><vcpu>{text}</vcpu></domain>")).vcpus,
    "the vCPUs of a domain now": lambda text: (
        identify(_domain(f"<domain><vcpu current='{text}'>8</vcpu></domain>")).vcpus
    ),
    "the I/O threads of a guest that comes": lambda text: len(
        incoming_guest(_guest(_specs(), f"<iothreads>{text}</iothreads>"), CpuSet()).threads.iothreads
    ),
    "the id of such a thread": lambda text: next(
        iter(
            incoming_guest(
                _guest(_specs(), f"<iothreadids><iothread id='{text}'/></iothreadids>"), CpuSet()
            ).threads.iothreads
        )
    ),
    "the id of a NUMA node": lambda text: _capabilities(text, cell="?"),
    "the id of a CPU": lambda text: _capabilities(text, cpu="?"),
    "the memory of a NUMA node": lambda text: _capabilities(text, memory="?"),
    "the level of a cache": lambda text: _capabilities(text, level="?"),
    "the name of a node's provider": lambda text: node_id(f"c1_kongming_numa{text}"),
    "the vCPUs of a flavor": lambda text: _flavor(text, "vcpus"),
    "the memory of a flavor": lambda text: _flavor(text, "ram"),
    "the disk of a flavor": lambda text: _flavor(text, "disk"),
    "the swap of a flavor": lambda text: _flavor(text, "swap"),
    "a total of Placement's": lambda text: _inventory(text, "total"),
    "what is reserved of it": lambda text: _inventory(text, "reserved"),
    "a provider's generation": lambda text: _placement(
        text,
        json.dumps({"resource_providers": [PROVIDER]}).replace('"?"', "?"),
        lambda client: client.providers(),
    ),
    "a capacity": lambda text: _placement(
        text,
        json.dumps({"allocation_requests": [], "provider_summaries": {UUID: SUMMARY}}).replace('"?"', "?"),
        lambda client: client.node_summaries(),
    ),
    "an allocation": lambda text: _placement(
        text,
        '{"allocations": {"a": {"resources": {"PCPU": ?}}}}',
        lambda client: client.allocations(UUID),
    ),
    "the process id of a guest": _pid,
}
"""What reads a 3 as that, and refuses what is no number by an error of KongMing's."""

IGNORING: dict[str, tuple[Callable[[str], object], object]] = {
    "a number": (lambda text: find_whole_number(text, CPUS), None),
    "the quota of a flavor": (
        lambda text: identify(_domain(_guest({"quota:cpu_shares": text}))).quota.get("cpu_shares"),
        None,
    ),
    "the trait of a node": (lambda text: names.node_id_of(f"CUSTOM_KONGMING_NODE_{text}"), None),
    "the trait of its threads": (lambda text: names.smt_of(f"CUSTOM_KONGMING_SMT_{text}"), None),
    "an amount that overrides the flavor's": (
        lambda text: taken_of_host(Flavor("", "f", 7, 1, {"resources:VCPU": text}))["VCPU"],
        7,
    ),
    "the names of nodes": (
        lambda text: next((node.id for node in nodes_of({UUID: f"c1_kongming_numa{text}"}, [_summary()])), None),
        None,
    ),
    "the vCPUs that libvirt says": (
        lambda text: len(libvirt_pins(_domain(f"<domain><vcpu>{text}</vcpu></domain>"), CpuSet()).vcpus),
        0,
    ),
    "systemd's patience": (
        lambda text: Systemd({"WATCHDOG_USEC": f"{text}"})._alive_seconds * 3e6,
        0.0,
    ),
}
"""What reads a 3 as that, and what it makes of what is no number."""

TAKEN = {
    ("the memory of a NUMA node", "12 digits"),
    ("the memory of a NUMA node", "space before"),
    ("systemd's patience", "12 digits"),
    ("a total of Placement's", "12 digits"),
    ("what is reserved of it", "12 digits"),
    ("a provider's generation", "12 digits"),
    ("a capacity", "12 digits"),
    ("an allocation", "12 digits"),
    ("the I/O threads of a guest that comes", "space before"),
    ("the vCPUs of a domain", "space before"),
    ("the vCPUs of a domain now", "space before"),
    ("the vCPUs that libvirt says", "space before"),
    ("the process id of a guest", "space before"),
    ("a total of Placement's", "space before"),
    ("what is reserved of it", "space before"),
    ("a provider's generation", "space before"),
    ("a capacity", "space before"),
    ("an allocation", "space before"),
    ("a CPU set", "space before"),
    ("the pins of a server's metadata", "space before"),
    ("the vCPUs of a server's metadata", "space before"),
    ("the vCPUs of a flavor", "space before"),
    ("the memory of a flavor", "space before"),
    ("the disk of a flavor", "space before"),
    ("the swap of a flavor", "space before"),
    ("the quota of a flavor", "space before"),
}
"""Who takes what: XML, JSON and CPU sets may have space around a number, and some numbers are large."""


@pytest.mark.parametrize("reader", REFUSING)
def test_a_number_is_read(reader: str) -> None:
    """As it is meant."""
    assert 3 == REFUSING[reader]("3")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("reader", REFUSING)
def test_what_is_no_number_is_refused(reader: str, odd: str) -> None:
    """By an error of KongMing's, which is not as long as the text, or where it is right all the same it is taken."""
    if (reader, odd) in TAKEN:
        assert REFUSING[reader](ODD[odd]) is not None
        return
    with pytest.raises(exceptions.KongMingError) as caught:
        REFUSING[reader](ODD[odd])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("reader", IGNORING)
def test_a_number_is_found(reader: str) -> None:
    """As it is meant."""
    assert 3 == IGNORING[reader][0]("3")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("reader", IGNORING)
def test_what_is_no_number_is_left_out(reader: str, odd: str) -> None:
    """As if nothing were there."""
    read, without = IGNORING[reader]
    if (reader, odd) in TAKEN:
        assert without != read(ODD[odd])
        return
    assert without == read(ODD[odd])


@pytest.mark.parametrize("odd", ODD)
def test_the_number_of_a_group(odd: str) -> None:
    """What follows is no group of the template's where that is no number; one that is too high leaves a gap."""
    specs = _specs(**{f"resources_KONGMING{ODD[odd]}:CUSTOM_KONGMING_PCPU": "1"})
    if odd in ("5,000 digits", "12 digits"):
        with pytest.raises(exceptions.InvalidRequest, match="lacks this group"):
            PinningRequest.from_extra_specs(specs)
        return
    request = PinningRequest.from_extra_specs(specs)
    assert request is not None
    assert ["_KONGMING0"] == [cell.group for cell in request.cells]


@pytest.mark.parametrize("value", ['"1"', "1.5", "true", "-1", "1e400", "256", "[]", "9" * 5000, "9" * 30])
@pytest.mark.parametrize("field", ["node", "cell"])
def test_orders_name_nodes_and_cells_by_numbers(field: str, value: str) -> None:
    """Anything else is no order, and nothing else of the agent is asked for."""
    order = {"order": '"move"', "server": '"web"', "node": "1", field: value}
    text = "{" + ", ".join(f'"{name}": {each}' for name, each in order.items()) + "}"
    with pytest.raises(exceptions.InvalidOrder, match="this is no order"):
        parse_order(text)


def test_orders_of_many_brackets() -> None:
    """They are no order, and the agent goes on."""
    with pytest.raises(exceptions.InvalidOrder, match="this is no order"):
        parse_order("[" * 100_000)


@pytest.mark.parametrize("odd", ODD)
def test_the_traits_of_a_template(odd: str) -> None:
    """A template's provider may have any trait: one that is no clause is named."""
    traits = encode(PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": "0", "cpus": "dedicated"}]}))
    for trait in ("CUSTOM_KONGMING_C{}_VCPUS_1", "CUSTOM_KONGMING_C0_NODE_{}", "CUSTOM_KONGMING_QOS_SHARES_{}"):
        with pytest.raises(exceptions.InvalidTraits):
            decode("gold", traits | {trait.format(ODD[odd])})


def test_templates_have_no_more_cells_than_hosts_have_nodes() -> None:
    """Each is on a node of its own."""
    cells = [{"vcpus": str(number), "cpus": "dedicated"} for number in range(257)]
    with pytest.raises(exceptions.InvalidTemplate, match="has 257 cells, and a host has 256 NUMA nodes at most"):
        PinningTemplate.from_mapping({"name": "gold", "cells": cells})
    assert 256 == PinningTemplate.from_mapping({"name": "gold", "cells": cells[:256]}).vcpus


@pytest.mark.parametrize("value", ["0", "-1", "1e400", "-Infinity", "NaN", '"1"', "null", "9" * 400])
def test_allocation_ratios(value: str) -> None:
    """A capacity is calculated with them, so that they must be finite numbers above 0."""
    with pytest.raises(exceptions.PlacementUnavailable):
        _inventory(value, "allocation_ratio")


@pytest.mark.parametrize("odd", ["5,000 digits", "a fraction", "a letter"])
def test_options(odd: str, tmp_path: Path) -> None:
    """A file with a wrong number is refused by oslo.config, which names the option."""
    path = tmp_path / "kongming.conf"
    path.write_text(f"[kongming_agent]\nreserved_memory_mb = {ODD[odd]}\n")
    conf = read_files([str(path)])
    with pytest.raises(ValueError, match="reserved_memory_mb"):
        conf.kongming_agent.get("reserved_memory_mb")


def test_names_of_threads_are_not_all_text(tmp_path: Path) -> None:
    """A process names its threads as it likes; those that are no vCPU's do not count."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/instance-1.pid").write_text("77\n")
    threads = {77: b"qemu", 80: b"\xff\xfe", 81: "CPU ٣/KVM".encode(), 82: b"CPU 1/KVM", 83: b"CPU " + b"9" * 5000}
    for thread, comm in threads.items():
        task = tmp_path / "proc/77/task" / str(thread)
        task.mkdir(parents=True)
        (task / "comm").write_bytes(comm + b"\n")
        (task / "status").write_bytes(b"Name:\t" + comm[:15] + b"\nCpus_allowed_list:\t2\n")
    (tmp_path / "proc/77/cmdline").write_bytes(b"qemu\0" + UUID.encode() + b"\0")
    host = Host(tmp_path / "proc", tmp_path / "run", tmp_path / "cgroup")
    assert {1: CpuSet.of([2])} == host.threads(Domain(UUID, "instance-1", "")).vcpus


def test_memory_of_files_that_are_not_all_text(tmp_path: Path) -> None:
    """Pages of files with any name are counted, and numbers that no machine has are not."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/instance-1.pid").write_text("77\n")
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/77/cmdline").write_bytes(b"qemu\0" + UUID.encode() + b"\0")
    maps = b"7f00 default file=/dev/shm/\xff N0=512 kernelpagesize_kB=4\n7f01 default N1=" + b"9" * 5000 + b"\n"
    (tmp_path / "proc/77/numa_maps").write_bytes(maps)
    host = Host(tmp_path / "proc", tmp_path / "run", tmp_path / "cgroup")
    assert {0: 2} == host.memory_mb(Domain(UUID, "instance-1", ""))


@given(st.integers(-(10**6), 10**6), st.integers(-100, 100), st.integers(0, 10**5))
def test_a_number_is_read_back_if_it_is_within_the_limits(number: int, least: int, width: int) -> None:
    """Zeros before it do not count."""
    allowed = range(least, least + width + 1)
    expected = number if number in allowed else None
    sign, digits = ("-", str(number)[1:]) if number < 0 else ("", str(number))
    assert expected == find_whole_number(str(number), allowed)
    assert expected == find_whole_number(f"{sign}000{digits}", allowed)
    assert (expected is not None) == is_whole_number(number, allowed)


@given(st.text())
def test_whatever_is_read_is_what_int_reads(text: str) -> None:
    """No text is taken for another number than it is."""
    number = find_whole_number(text, range(-(10**6), 10**6))
    assert number is None or number == int(text)


def test_xml_is_left_alone() -> None:
    """The sample that the readers above are tried on is a guest of a template."""
    assert "gold" in ET.tostring(ET.fromstring(_guest(_specs())), encoding="unicode")

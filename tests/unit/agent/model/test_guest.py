# SPDX-License-Identifier: Apache-2.0
"""What the agent reads from a domain's XML."""

from __future__ import annotations

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.model.guest import (
    Domain,
    Identities,
    Identity,
    RunningGuest,
    Threads,
    find_guests,
    identify,
    identify_or_fault,
)
from kongming_sched.cpuset import CpuSet
from testbed.simulated_host import domain_xml

UUID = "11111111-1111-4111-8111-111111111111"


def domain(xml: str) -> Domain:
    """A running domain of this XML."""
    return Domain(UUID, "instance-1", xml)


def test_guest_of_nobody() -> None:
    """A domain without Nova's metadata has its own name and asks for nothing."""
    identity = identify(domain("<domain><vcpu>3</vcpu></domain>"))

    assert ("instance-1", 3, None) == (identity.server, identity.vcpus, identity.request)


def test_guest_without_template() -> None:
    """A server whose flavor names no template asks for nothing."""
    identity = identify(domain(domain_xml("instance-1", UUID, 2, {"hw:cpu_policy": "dedicated"})))

    assert identity.request is None


def test_current_vcpus_count() -> None:
    """Of hot-pluggable vCPUs those count that are there."""
    assert 2 == identify(domain('<domain><vcpu current="2">8</vcpu></domain>')).vcpus


def test_realtime_vcpus() -> None:
    """Those of every entry with a real-time policy; batch and idle are none."""
    entries = "".join(
        f"<vcpusched vcpus='{vcpus}' scheduler='{policy}' priority='1'/>"
        for vcpus, policy in (("1-2", "fifo"), ("4", "rr"), ("5", "batch"), ("6", "idle"))
    )
    identity = identify(domain(f"<domain><vcpu>8</vcpu><cputune>{entries}</cputune></domain>"))

    assert CpuSet.parse("1-2,4") == identity.realtime


def test_memory_binding() -> None:
    """The live binding is read with its mode."""
    identity = identify(domain(domain_xml("instance-1", UUID, 2, {}, "0-1", "strict")))

    assert (CpuSet.parse("0-1"), "strict") == (identity.memory_nodes, identity.memory_mode)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        pytest.param("<cpu><topology sockets='1' dies='1' cores='2' threads='2'/></cpu>", 2, id="threads"),
        pytest.param("<cpu mode='host-model'/>", 1, id="a model alone"),
        pytest.param("", 1, id="nothing"),
        pytest.param("<cpu><topology threads='two'/></cpu>", 1, id="no number"),
    ],
)
def test_threads_of_the_cores_that_the_guest_sees(element: str, expected: int) -> None:
    """One where nothing else is known."""
    xml = domain_xml("instance-1", UUID, 4, {}).replace("</domain>", f"{element}</domain>")

    assert expected == identify(domain(xml)).threads_per_core


def test_nodes_of_the_guest() -> None:
    """Each has its host nodes, in the guest's order; a guest that Nova has laid out no nodes for has none."""
    xml = domain_xml("instance-1", UUID, 2, {}, "0-1", "strict")
    nodes = "".join(f"<memnode cellid='{cell}' mode='strict' nodeset='{host}'/>" for cell, host in ((1, "0"), (0, "1")))

    assert () == identify(domain(xml)).cell_nodes
    found = identify(domain(xml.replace("</numatune>", f"{nodes}</numatune>"))).cell_nodes
    assert (CpuSet.parse("1"), CpuSet.parse("0")) == found


def test_quota_of_the_flavor() -> None:
    """quota:cpu_* are known by libvirt's names; what is no number is left to Nova."""
    specs = {"quota:cpu_shares": "512", "quota:cpu_quota": "-1", "quota:cpu_period": "soon"}

    assert {"cpu_shares": 512, "vcpu_quota": -1} == identify(domain(domain_xml("i", UUID, 1, specs))).quota


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        pytest.param("<domain>", "no element found", id="cut off"),
        pytest.param("<domain/>", "it has no <vcpu>", id="without vCPUs"),
        pytest.param(
            "<domain><vcpu>many</vcpu></domain>", "'many' is not a whole number from 1 to 8192", id="vCPUs in words"
        ),
        pytest.param(
            '<domain><vcpu>1</vcpu><numatune><memory nodeset="x"/></numatune></domain>',
            "'x' is not a CPU set",
            id="broken nodeset",
        ),
    ],
)
def test_broken_xml(xml: str, reason: str) -> None:
    """A broken document is refused by the domain's name, the reason and what to check."""
    with pytest.raises(exceptions.InvalidDomain, match=reason) as caught:
        identify(domain(xml))

    assert "virsh dumpxml instance-1" in str(caught.value)


def test_xml_is_read_again_when_it_has_changed() -> None:
    """The identity of an unchanged document is the very one of before, and a guest that has gone is forgotten."""
    identities = Identities()
    old, new = domain("<domain><vcpu>1</vcpu></domain>"), domain("<domain><vcpu>2</vcpu></domain>")

    seen = [[identity for _, identity in identities.of(domains)] for domains in ([old], [old], [new], [], [new])]

    assert seen[0][0] is seen[1][0]
    assert [1, 1, 2, 2] == [getattr(identity, "vcpus", identity) for row in seen for identity in row]
    assert seen[2][0] is not seen[4][0]


def test_broken_document_is_given_as_such() -> None:
    """It keeps nobody from the others."""
    good, bad = domain("<domain><vcpu>1</vcpu></domain>"), Domain("22222222", "instance-2", "<domain>")

    (_, error), (_, identity) = Identities().of([bad, good])

    assert isinstance(error, exceptions.InvalidDomain)
    assert identify(good) == identity


def test_threads_by_kind_and_number() -> None:
    """They come in one order, whatever order the kernel listed them in."""
    one, two, rest = (CpuSet.parse(cpus) for cpus in ("1", "2", "6-7"))

    found = Threads({1: two, 0: one}, rest, {4: rest, 2: one}).by_key()

    assert [
        ("vCPU 0", one),
        ("vCPU 1", two),
        ("emulator", rest),
        ("I/O thread 2", one),
        ("I/O thread 4", rest),
    ] == [(str(thread), cpus) for thread, cpus in found.items()]


def running(uuid: str, server: str, name: str) -> RunningGuest:
    """A guest that runs: its id, its name in Nova, and its name in libvirt."""
    return RunningGuest(Domain(uuid, name, ""), Identity(server, 1, None, start="7"))


WEB, OTHER_WEB, DB = running("a", "web", "i-1"), running("b", "web", "i-2"), running("c", "a", "i-3")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("b", [OTHER_WEB], id="server id"),
        pytest.param("i-3", [DB], id="name in libvirt"),
        pytest.param("web", [WEB, OTHER_WEB], id="name that two servers have in Nova"),
        pytest.param("a", [WEB], id="id that is the name of another one"),
        pytest.param("x", [], id="name of nobody"),
    ],
)
def test_guests_of_a_name(name: str, expected: list[RunningGuest]) -> None:
    """A guest is found by its id first, and by either of its names."""
    assert expected == find_guests([WEB, OTHER_WEB, DB], name)


def test_run_of_a_guest() -> None:
    """The number that libvirt gives at each start belongs to it."""
    assert ("a", "7") == WEB.run


def test_fault_instead_of_an_identity() -> None:
    """A domain that cannot be read is known by libvirt's name, with the reason."""
    with pytest.raises(exceptions.InvalidDomain) as error:
        identify(domain("<domain/>"))

    assert Identity("instance-1", 0, None, fault=str(error.value)) == identify_or_fault(domain("<domain/>"))

# SPDX-License-Identifier: Apache-2.0
"""Why each thread of a guest is where it should be, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongming_sched.agent.inspect.notes import Notes, describe_pages, has_huge_pages
from kongming_sched.agent.model.actions import Kind, ThreadKey
from kongming_sched.agent.model.view import OverrideRequest
from tests.unit.agent.hosts import Tenant, host, preview, tenant

FIRST, LAST = ThreadKey(Kind.VCPU, 0), ThreadKey(Kind.VCPU, 1)
EMULATOR = ThreadKey(Kind.EMULATOR)


def note(who: Tenant, thread: ThreadKey) -> str:
    """What is said of a thread of the only guest of a host."""
    return Notes(preview(host(who))).of_thread(who.guest, thread)


@pytest.mark.parametrize(
    ("who", "thread", "expected"),
    [
        pytest.param(tenant("a", "gold", [0], "1", "9"), LAST, "dedicated, cell 0 on node 0", id="dedicated"),
        pytest.param(tenant("a", "twin", [0, 1], "1", "5"), LAST, "dedicated, cell 1 on node 1", id="second cell"),
        pytest.param(tenant("a", "bronze", [1], "12"), FIRST, "floats over the shared pool of node 1", id="shared"),
        pytest.param(
            tenant("a", "mixed", [1], "12", "5", "13", "12"),
            FIRST,
            "floats over the shared pool of node 1",
            id="a shared vCPU of a dedicated cell",
        ),
        pytest.param(
            tenant("a", "mixed", [1], "12", "5", "13", "12"), LAST, "dedicated, cell 0 on node 1", id="beside it"
        ),
        pytest.param(tenant("a", "exact", [1], "15"), FIRST, "the CPUs that the template names", id="explicit"),
        pytest.param(
            tenant("a", "gold", [0], "1", "9"), EMULATOR, "it belongs on the housekeeping CPUs", id="emulator"
        ),
        pytest.param(
            tenant("a", "own", [0], "1", emulator="2"),
            EMULATOR,
            "it has a dedicated CPU of its own (emulator: own)",
            id="emulator of its own",
        ),
        pytest.param(
            tenant("a", "gold", [0], "1", "9"), ThreadKey(Kind.IOTHREAD, 1), "with the emulator", id="I/O thread"
        ),
    ],
)
def test_why_a_thread_is_there(who: Tenant, thread: ThreadKey, expected: str) -> None:
    """By its template and the node of its claim."""
    assert expected == note(who, thread)


def test_nothing_is_said_of_a_guest_without_a_place() -> None:
    """Its fault says why it has none."""
    homeless = replace(tenant("a", "gold", [0], "1", "9"), nodes=())
    assert ["", "", ""] == [note(homeless, thread) for thread in (FIRST, LAST, EMULATOR)]


def test_a_vcpu_that_libvirt_has_added() -> None:
    """No cell of the template has it."""
    assert "" == note(tenant("a", "gold", [0], "1", "9"), ThreadKey(Kind.VCPU, 7))


def test_what_the_servers_own_metadata_asks_for() -> None:
    """Is named where it was granted."""
    who = tenant("a", "open", [0], "2", "10")
    view = host(who)
    view = replace(view, overrides={who.guest.uuid: OverrideRequest({"kongming:cpus": "0:2;1:10"})})
    assert "as the server's own metadata asks" == Notes(preview(view)).of_thread(who.guest, FIRST)


def test_huge_pages_in_words() -> None:
    """By node and size, the smallest node first; none is said as well."""
    assert "node 0: 2 of 1GiB, node 1: 512 of 2MiB" == describe_pages({(1, 2048): 512, (0, 1 << 20): 2})
    assert "none" == describe_pages({})


def test_whether_a_guest_asks_for_huge_pages() -> None:
    """By what its flavor claims."""
    requests = [tenant("a", name, [0], "1", "9").guest.request for name in ("huge", "gold")]
    assert [True, False] == [has_huge_pages(request) for request in requests]

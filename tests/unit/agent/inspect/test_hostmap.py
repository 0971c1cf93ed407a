# SPDX-License-Identifier: Apache-2.0
"""Who is drawn where in the map of a host, and how that is shown on a page and on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.agent.commands import map_terminal
from kongming_sched.agent.commands.map_page import page
from kongming_sched.agent.inspect.hostmap import HostMap, MapCpu, describe, draw
from kongming_sched.pools import HostCpus, HugePages
from testbed.topologies import two_nodes_smt2
from tests.unit.agent.inspect.host_maps import POOLS, guest, two_nodes

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


def find(host_map: HostMap, number: int) -> MapCpu:
    """One CPU of a map."""
    return next(cpu for cpu in host_map.cpus if cpu.cpu == number)


class Reader(HTMLParser):
    """Reads a page: its elements, its text, and whether every element that is opened is closed in order."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.is_nested = True
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.is_nested &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_cpu_is_drawn_once() -> None:
    """In its node and core, with its pool."""
    host_map = two_nodes()

    assert list(range(32)) == sorted(cpu.cpu for cpu in host_map.cpus)
    assert [(0, 2), (1, 3)] == [
        (node.id, core.number) for node in host_map.nodes for core in node.cores if core.cpus[0].cpu in (2, 11)
    ]
    assert ["dedicated", "shared", "housekeeping"] == [find(host_map, cpu).pool for cpu in (2, 1, 0)]


def test_who_is_where() -> None:
    """A pinned vCPU is on its CPU, one of a shared cell on all of the pool, a guest that floats is marked."""
    host_map = two_nodes()

    assert ["web-frontend-1 (vCPU 0)", "build-agent (vCPU 0-1 and emulator, not pinned)"] == [
        describe(tenant) for tenant in find(host_map, 2).tenants
    ]
    assert ["batch-1", "batch-2"] == [tenant.guest.name for tenant in find(host_map, 17).pinned]
    assert ["web-frontend-1"] == [tenant.guest.name for tenant in find(host_map, 2).pinned]
    assert "database (vCPU 0 and emulator)" == describe(find(host_map, 10).tenants[0])


def test_pools_are_counted() -> None:
    """A CPU is in use when a guest is pinned to it, however many float over it."""
    host_map = two_nodes()

    assert ((16, 24), (4, 4)) == (host_map.count("dedicated"), host_map.count("shared"))
    assert (8, 12) == host_map.nodes[0].count("dedicated")


def test_two_guests_on_a_dedicated_cpu_are_seen() -> None:
    """On a shared CPU that is as it should be."""
    host_map = two_nodes(guest("intruder", "gold", "2"))

    assert [2] == [cpu.cpu for cpu in host_map.cpus if cpu.is_contended]
    assert 'role="alert">Two guests on a dedicated CPU: CPU 2<' in page(host_map, NOON)


def test_guest_that_cannot_be_read() -> None:
    """Its threads are drawn where the kernel has them, and nothing is said of a template that it may well have."""
    read = guest("instance-1", "", "2")
    host_map = two_nodes(replace(read, identity=replace(read.identity, fault="libvirt could not answer")))

    assert "instance-1 (vCPU 0, cannot be read)" in map(describe, find(host_map, 2).tenants)
    assert '<span class="where">cannot be read · 1 vCPU\nCPU 2</span>' in page(host_map, NOON)


def test_page_says_whether_unmanaged_guests_are_confined() -> None:
    """In a note of its own beside the guests that are not pinned."""
    assert '<p class="note">confine_unmanaged is &lt;off&gt;</p>' in page(
        two_nodes(unmanaged="confine_unmanaged is <off>"), NOON
    )


def test_terminal_says_whether_unmanaged_guests_are_confined() -> None:
    """In the last line, below what is in use."""
    stream = io.StringIO()

    map_terminal.show(two_nodes(unmanaged="confine_unmanaged is [off]"), stream, {"COLUMNS": "200"})

    assert "confine_unmanaged is [off]" == stream.getvalue().splitlines()[-1]


def test_an_emulator_on_a_cpu_of_its_own_is_in_use_there() -> None:
    """It counts as a vCPU does, and the page names it; a vCPU of another guest there is seen."""
    own = guest("own", "gold", "14", emulator="15,31")
    host_map, text = two_nodes(own), page(two_nodes(own), NOON)

    assert "own (emulator)" == describe(find(host_map, 15).tenants[0])
    assert (19, 24) == host_map.count("dedicated")
    assert '<span class="who">own</span>' in text
    assert "<span>emulator</span>" in text
    assert [15] == [cpu.cpu for cpu in two_nodes(own, guest("intruder", "gold", "15")).cpus if cpu.is_contended]


def test_an_emulator_on_the_cpus_of_its_vcpus_has_none_of_its_own() -> None:
    """Nor has one that floats over CPUs outside of the pool, too."""
    names = {"database", "build-agent", "web-frontend-1"}

    assert {False} == {shown.has_own_emulator for shown in two_nodes().guests if shown.name in names}


def test_the_page_needs_nothing_else() -> None:
    """It is whole, says what it is, and names no other address."""
    text = page(two_nodes(), NOON)

    reader = Reader(text)
    assert reader.is_nested
    assert [] == reader.open
    assert "compute-1.example.org: CPUs and guests" in reader.text
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name in ("src", "href")]
    assert "url(" not in text
    assert "@import" not in text


@given(st.text(st.characters() | st.sampled_from("\x1b\x07\ud800\udfff\u202e\n"), min_size=1, max_size=60))
def test_names_are_text(name: str) -> None:
    """Whatever a tenant calls a server, the page has the same elements; what cannot be seen is replaced."""
    ordinary, strange = (Reader(page(two_nodes(guest(called, "gold", "2")), NOON)) for called in ("zzz", f"zzz{name}"))

    assert sorted(ordinary.tags) == sorted(strange.tags)
    assert strange.is_nested
    assert all(line.isprintable() for line in page(two_nodes(guest(f"zzz{name}", "gold", "2")), NOON).split("\n"))


def test_a_name_is_exact_in_the_picture() -> None:
    """What is shown of it is clean, and JSON has the name as Nova has it."""
    assert "a\x1bb" in {shown.name for shown in two_nodes(guest("a\x1bb", "gold", "2")).guests}


def test_the_terminal_has_colours() -> None:
    """Every CPU has its line, in colour on a terminal; a name that looks like markup stays what it is."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    host_map = two_nodes(guest("[red]\x1b[2Jrouter[/red]", "gold", "14"))
    map_terminal.show(host_map, stream, {"TERM": "xterm-256color", "COLUMNS": "200"})

    text = stream.getvalue()
    assert "\x1b[36m" in text or "\x1b[1;36m" in text
    assert "[red]\N{REPLACEMENT CHARACTER}[2Jrouter[/red] (vCPU 0)" in text
    assert "17 of 24 CPUs in use" in text
    assert "\x1b[2J" not in text


def test_huge_pages_are_shown_beside_the_memory() -> None:
    """On the page and on a terminal, for the nodes that have some."""
    pages = {1: (HugePages(2048, 1024), HugePages(1048576, 12))}
    host_map = draw("c1", HostCpus(two_nodes_smt2(), POOLS, pages), ())
    stream = io.StringIO()
    map_terminal.show(host_map, stream, {"COLUMNS": "200"})

    text = page(host_map, NOON)
    assert 1 == text.count("<span><b>1,024</b> pages of 2MiB</span>\n<span><b>12</b> pages of 1GiB</span>")
    assert "huge pages of node 1: 1,024 of 2MiB, 12 of 1GiB\n" in stream.getvalue()
    assert "huge pages of node 0" not in stream.getvalue()

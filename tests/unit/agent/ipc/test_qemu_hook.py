# SPDX-License-Identifier: Apache-2.0
"""The hook's edits, on domains of every shape that Nova and libvirt wrote, and on what is no domain at all."""

from __future__ import annotations

import difflib
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from kongming_sched.agent.ipc import qemu_hook
from tests.unit.agent.ipc.xml_ways import WAYS

SAMPLES = sorted((Path(__file__).parent / "xml").glob("*.xml"))
OURS = [path for path in SAMPLES if path.name.startswith("template-")]
OTHERS = [path for path in SAMPLES if path.name.startswith("other-")]

ANSWER = {
    "vcpupin": {"0": "5", "1": "13", "2": "6-7", "3": "14,15"},
    "emulatorpin": "0,4",
    "iothreadpin": {"1": "0,4"},
    "memory": "1",
}
PINS = qemu_hook.Pins.from_answer(json.dumps(ANSWER).encode())
NOTHING = qemu_hook.Pins()
PATIENT = qemu_hook.Deadline(3600)

GUEST = """\
<domain type='qemu'>
  <name>web</name>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:flavor name="gold">
        <nova:extraSpecs>
          <nova:extraSpec name="kongming:template">gold</nova:extraSpec>
        </nova:extraSpecs>
      </nova:flavor>
    </nova:instance>
  </metadata>
  <vcpu placement='static'>2</vcpu>
  {}
</domain>
"""


def edited(xml: bytes, pins: qemu_hook.Pins) -> bytes:
    """A domain with these pins."""
    return qemu_hook.replace_pins(xml, qemu_hook.DomainReader(xml).domain, pins)


def facts(xml: bytes) -> tuple[list[tuple[str, dict[str, str]]], list[tuple[str, dict[str, str]]], str]:
    """The pins and the binding of a domain, and everything else of it without the space between the elements."""
    root = ET.fromstring(xml)
    pins, memory = [], []
    for cputune in root.findall("cputune"):
        for child in list(cputune):
            if child.tag in ("vcpupin", "emulatorpin", "iothreadpin"):
                pins.append((child.tag, dict(child.attrib)))
                cputune.remove(child)
        if not len(cputune):
            root.remove(cputune)
    for numatune in root.findall("numatune"):
        for child in list(numatune):
            if child.get("mode") == "restrictive":
                memory.append((child.tag, dict(child.attrib)))
                numatune.remove(child)
        if not len(numatune):
            root.remove(numatune)
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip(), ""
    return pins, memory, ET.canonicalize(ET.tostring(root, encoding="unicode"))


def pins_for(xml: bytes) -> qemu_hook.Pins:
    """An answer for the vCPUs and I/O threads that a domain has."""
    root = ET.fromstring(xml)
    vcpus, iothreads = (int(root.findtext(tag) or 0) for tag in ("vcpu", "iothreads"))
    answer = {
        "vcpupin": {str(vcpu): str(vcpu + 5) for vcpu in range(vcpus)},
        "emulatorpin": "0,4",
        "iothreadpin": {str(number): "0,4" for number in range(1, iothreads + 1)},
        "memory": "1",
    }
    return qemu_hook.Pins.from_answer(json.dumps(answer).encode())


def define(documents: list[bytes]) -> list[dict[str, str]]:
    """What libvirt makes of domains: its own text of each, or why it refuses it."""
    command = [sys.executable, str(Path(__file__).parent / "defining.py")]
    texts = json.dumps([xml.decode() for xml in documents])
    done = subprocess.run(command, input=texts, capture_output=True, text=True, check=True)
    answers: list[dict[str, str]] = json.loads(done.stdout)
    return answers


def is_bound_otherwise(xml: bytes) -> bool:
    """Whether anything but the agent has bound a domain's memory."""
    return any(child.get("mode") != "restrictive" for child in ET.fromstring(xml).iterfind("numatune/*"))


def changed_lines(before: bytes, after: bytes) -> set[str]:
    """The names of the elements in all lines that were taken out or put in."""
    lines = difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), lineterm="", n=0)
    changed = [line[1:] for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return {match[1] if (match := re.match(r"\s*</?(\w+)", line)) else line for line in changed}


def test_there_are_fifty_samples() -> None:
    """Half of them of templates."""
    assert (25, 25) == (len(OURS), len(OTHERS))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_pins_are_replaced(path: Path) -> None:
    """A guest has exactly the pins of the answer, and everything else of it is as before."""
    before = path.read_bytes()

    after = edited(before, PINS)

    pins, memory, rest = facts(after)
    assert [
        ("vcpupin", {"vcpu": "0", "cpuset": "5"}),
        ("vcpupin", {"vcpu": "1", "cpuset": "13"}),
        ("vcpupin", {"vcpu": "2", "cpuset": "6-7"}),
        ("vcpupin", {"vcpu": "3", "cpuset": "14,15"}),
        ("emulatorpin", {"cpuset": "0,4"}),
        ("iothreadpin", {"iothread": "1", "cpuset": "0,4"}),
    ] == pins
    assert ([] if is_bound_otherwise(before) else [("memory", {"mode": "restrictive", "nodeset": "1"})]) == memory
    assert facts(before)[2] == rest


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_pins_are_taken_out(path: Path) -> None:
    """Without an answer a guest has no pin and no binding of the agent's, and everything else is as before."""
    before = path.read_bytes()

    after = edited(before, NOTHING)

    assert ([], [], facts(before)[2]) == facts(after)


@pytest.mark.parametrize("pins", [PINS, NOTHING], ids=["replaced", "taken out"])
@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_other_bytes_stay(path: Path, pins: qemu_hook.Pins) -> None:
    """Only lines of pins and of the memory's binding come and go; all others are there byte by byte."""
    before = path.read_bytes()

    changed = changed_lines(before, edited(before, pins))

    assert {"cputune", "vcpupin", "emulatorpin", "iothreadpin", "numatune", "memory"} >= changed


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_replaced_twice_is_replaced_once(path: Path) -> None:
    """The hook finds again what it wrote."""
    once = edited(path.read_bytes(), PINS)

    assert once == edited(once, PINS)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_other_guests_pass(path: Path) -> None:
    """A guest without a template is not touched, whatever pins it has, and nobody is asked."""
    before = path.read_bytes()

    assert before == qemu_hook.edit(before, "/nobody/asks/here", PATIENT)
    assert before == qemu_hook.without_pins(before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_pins_are_replaced_however_it_is_written(path: Path, way: str) -> None:
    """The same pins as in libvirt's own writing, the rest as it was, and a second time changes nothing."""
    as_libvirt_writes = path.read_bytes()
    before = WAYS[way](path.read_text()).encode()
    assert facts(as_libvirt_writes) == facts(before)

    for pins in (pins_for(before), NOTHING):
        after = edited(before, pins)

        assert facts(edited(as_libvirt_writes, pins)) == facts(after)
        assert after == edited(after, pins)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_other_guests_pass_however_they_are_written(path: Path, way: str) -> None:
    """Nothing of them is touched."""
    before = WAYS[way](path.read_text()).encode()

    assert before == qemu_hook.edit(before, "/nobody/asks/here", PATIENT)


def test_libvirt_takes_what_the_hook_writes() -> None:
    """By its schema and its own reading: a domain with the new pins, which is otherwise what it was before."""
    cases = [(path.stem, way) for path in OURS for way in WAYS]
    written = [WAYS[way](path.read_text()).encode() for path in OURS for way in WAYS]
    with_pins = [edited(xml, pins_for(xml)) for xml in written]

    answers = define([*written, *with_pins, *(edited(xml, NOTHING) for xml in written)])

    assert [] == [answer["error"] for answer in answers if "error" in answer]
    texts = [answer["xml"].encode() for answer in answers]
    count = len(cases)
    for index, case in enumerate(cases):
        before, pinned, bare = (facts(texts[index + part * count]) for part in range(3))
        assert (case, *facts(with_pins[index])[:2], before[2]) == (case, *pinned)
        assert (case, [], [], before[2]) == (case, *bare)


def test_libvirt_would_refuse_a_wrong_place() -> None:
    """What is checked above is checked: pins outside of <cputune> are against libvirt's schema."""
    xml = OURS[0].read_bytes()

    [answer] = define([xml.replace(b"</domain>", b"<vcpupin vcpu='0' cpuset='1'/></domain>")])

    assert "XML document failed to validate against schema" in answer["error"]


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        pytest.param("<cputune/>", "<cputune>PINS\n  </cputune>", id="an empty tag"),
        pytest.param("<cputune></cputune>", "<cputune>PINS</cputune>", id="nothing inside"),
        pytest.param("<cputune><shares>5</shares></cputune>", "<cputune><shares>5</shares>PINS</cputune>", id="no pin"),
        pytest.param(
            "<cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='1' cpuset='1'/></cputune>",
            "<cputune>PINS</cputune>",
            id="one line",
        ),
        pytest.param(
            "<cputune >\n <!-- a > b --><vcpupin vcpu = \"0\"\n cpuset='>1' ></vcpupin ><x/></cputune >",
            "<cputune >\n <!-- a > b -->PINS<x/></cputune >",
            id="written by hand",
        ),
        pytest.param(
            "<cputune><a/></cputune>\n  <cputune><emulatorpin cpuset='1'/></cputune>",
            "<cputune><a/>PINS</cputune>",
            id="twice",
        ),
    ],
)
def test_place_of_the_pins(tune: str, expected: str) -> None:
    """However a <cputune> is written, the pins are in it once."""
    pins = qemu_hook.Pins(["<vcpupin vcpu='0' cpuset='7'/>"])

    after = edited(GUEST.format(tune).encode(), pins).decode()

    assert GUEST.format(expected.replace("PINS", "\n    <vcpupin vcpu='0' cpuset='7'/>")) == after


@pytest.mark.parametrize(
    "memory",
    [
        "<numatune><memory mode='strict' nodeset='0'/></numatune>",
        "<numatune><memory mode='restrictive' placement='auto'/></numatune>",
        "<numatune><memory mode='restrictive' nodeset='0'/><memnode cellid='0' mode='strict' nodeset='0'/></numatune>",
        "<numatune/>",
    ],
)
@pytest.mark.parametrize("pins", [qemu_hook.Pins((), "1"), NOTHING], ids=["bind", "do not bind"])
def test_binding_of_others_stays(memory: str, pins: qemu_hook.Pins) -> None:
    """A binding that is not the agent's is left alone."""
    xml = GUEST.format(memory).encode()

    assert xml == edited(xml, pins)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "no element found", id="empty"),
        pytest.param("<domain", "unclosed token", id="cut in a tag"),
        pytest.param(GUEST[: len(GUEST) // 2], "no element found", id="cut in the middle"),
        pytest.param(GUEST + "<domain/>", "junk after document", id="two documents"),
        pytest.param("<network><name>x</name></network>", "it is a <network>", id="another thing"),
        pytest.param("<\udcff/>", "not well-formed", id="not text"),
        pytest.param(GUEST.replace("<vcpu placement='static'>2</vcpu>", ""), "no <vcpu>", id="no vcpu"),
        pytest.param(
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + GUEST.format("&b;"),
            "document type",
            id="entities",
        ),
        pytest.param('<!DOCTYPE x SYSTEM "file:///etc/passwd">' + GUEST.format(""), "document type", id="a file"),
        pytest.param(GUEST.format("&b;"), "undefined entity", id="an unknown entity"),
        pytest.param("<a>" * 300_000, "no element found", id="deep"),
        pytest.param(GUEST.format("<x>" + "y" * qemu_hook.MAX_BYTES + "</x>"), "more than", id="huge"),
    ],
)
def test_doubt(text: str, reason: str) -> None:
    """What is no domain, or may not be what it seems, is refused, and nobody is asked."""
    xml = text.encode("utf-8", "surrogateescape")

    with pytest.raises(qemu_hook.Doubt) as caught:
        qemu_hook.edit(xml, "/nobody/asks/here", PATIENT)

    assert reason in str(caught.value)


class CountedBytes(bytes):
    """A text that counts how many bytes are copied out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice):
            CountedBytes.copied += len(found)
        return found


@pytest.mark.parametrize(
    "tune",
    [
        pytest.param("<cputune>{}</cputune>".format("\n<vcpupin vcpu='0' cpuset='1'/>" * 2000), id="pins"),
        pytest.param("\n<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>" * 2000, id="elements around pins"),
        pytest.param(f"<cputune>{' ' * 100_000}<emulatorpin cpuset='1'/></cputune>", id="space"),
    ],
)
@pytest.mark.parametrize("pins", [PINS, NOTHING], ids=["replaced", "taken out"])
def test_work_grows_with_the_length_alone(tune: str, pins: qemu_hook.Pins) -> None:
    """Each byte is copied a few times, however many pins there are."""
    xml = CountedBytes(GUEST.format(tune).encode())
    CountedBytes.copied = 0

    edited(xml, pins)

    assert CountedBytes.copied < 6 * len(xml)


def test_text_of_the_template_in_many_pieces() -> None:
    """A template's name is read whole, without the space around it."""
    xml = GUEST.format("").replace(">gold<", ">\n go&#108;d\n\n<")

    assert "gold" == qemu_hook.DomainReader(xml.encode()).template


ENCODINGS = {
    "UTF-8 with its mark": ("utf-8-sig", None),
    "UTF-16": ("utf-16", "utf-16"),
    "UTF-16, little end first": ("utf-16-le", "utf-16"),
    "UTF-16, big end first": ("utf-16-be", "utf-16"),
    "UTF-16 without a declaration": ("utf-16-be", None),
    "UTF-32": ("utf-32", "utf-32"),
    "Latin 1": ("iso-8859-1", "ISO-8859-1"),
    "Latin 9": ("iso-8859-15", "iso-8859-15"),
    "Windows": ("cp1252", "windows-1252"),
    "GB 18030": ("gb18030", "GB18030"),
    "ASCII": ("ascii", "us-ascii"),
    "UTF-8 that calls itself UTF-16": ("utf-8", "utf-16"),
}
"""How it is written, and what the declaration says."""


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings(name: str) -> None:
    """A document gets its pins in the encoding in which it came, and else stays as it is."""
    encoding, declared = ENCODINGS[name]
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    letters = "web" if encoding == "ascii" else "wéb"
    text = declaration + GUEST.format("<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>").replace("web", letters)

    after = qemu_hook.without_pins(text.encode(encoding))

    assert text.replace("\n  <cputune><vcpupin vcpu='0' cpuset='1'/></cputune>", "").encode(encoding) == after


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        pytest.param(b"\xff\xfe<\0d", "it cannot be read", id="half a character"),
        pytest.param(b'<?xml version="1.0" encoding="no-such"?><domain/>', "it cannot be read", id="unknown"),
        pytest.param(b'<?xml version="1.0" encoding="hex"?><domain/>', "it cannot be read", id="no encoding of text"),
        pytest.param(b'<?xml version="1.0" encoding="ascii"?><domain>\xe9</domain>', "it cannot be read", id="another"),
        pytest.param(
            b'<?xml version="1.0" encoding="unicode_escape"?><domain>\\x41</domain>',
            "not be the same written out",
            id="one that has two ways to write a character",
        ),
    ],
)
def test_encoding_that_is_not_understood(xml: bytes, reason: str) -> None:
    """What is not in its encoding, or could not be handed on byte by byte, is refused."""
    with pytest.raises(qemu_hook.Doubt) as caught:
        qemu_hook.edit(xml, "/nobody/asks/here", PATIENT)

    assert reason in str(caught.value)


def test_work_without_end_is_ended() -> None:
    """What computes or waits beyond its time is ended, wherever it is."""

    def work() -> None:
        with qemu_hook.limited(qemu_hook.Deadline(0)):
            while True:
                pass

    with pytest.raises(qemu_hook.Late):
        work()


def test_no_time_left_after_the_work() -> None:
    """What was done in time is not ended later."""
    with qemu_hook.limited(qemu_hook.Deadline(3600)):
        pass

    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)


def test_no_time_for_the_answer(tmp_path: Path) -> None:
    """The old pins are taken out if the agent, which listens, says nothing until the time is over."""
    readings = itertools.chain([0.0, 0.0, 0.0], itertools.repeat(1.0))  # none passes while the pins are searched for
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent.sock"))
        listening.listen()
        deadline = qemu_hook.Deadline(3600, lambda: 3600 * next(readings))

        after = qemu_hook.edit(OURS[0].read_bytes(), str(tmp_path / "agent.sock"), deadline)

    assert edited(OURS[0].read_bytes(), NOTHING) == after


def test_no_time_for_the_pins() -> None:
    """If the time is over before the pins are found the XML is not touched."""
    with pytest.raises(qemu_hook.Late):
        qemu_hook.edit(GUEST.format("<a/>" * 100_000).encode(), "/nobody/asks/here", qemu_hook.Deadline(0))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"vcpupin": {}}',
        '{"vcpupin": {"0": "1"}}',
        '{"vcpupin": {"0": "1\'/><evil/>"}, "emulatorpin": "0", "iothreadpin": {}}',
        '{"vcpupin": {"x": "1"}, "emulatorpin": "0", "iothreadpin": {}}',
        '{"vcpupin": {"0": 1}, "emulatorpin": "0", "iothreadpin": {}}',
        '{"vcpupin": {"0": ""}, "emulatorpin": "0", "iothreadpin": {}}',
        '{"vcpupin": {"0": "1"}, "emulatorpin": "0", "iothreadpin": {}, "memory": "all"}',
        '{"vcpupin": {"0": "1"}, "emulatorpin": "0", "iothreadpin": {}',
    ],
)
def test_answer_that_is_none(answer: str) -> None:
    """Anything but the pins of at least one vCPU and of the emulator is no answer."""
    with pytest.raises(ValueError):  # noqa: PT011  # json's own too
        qemu_hook.Pins.from_answer(answer.encode())


PLAIN = GUEST.replace('<nova:extraSpec name="kongming:template">gold</nova:extraSpec>', "")
"""A guest without a template."""


@pytest.mark.parametrize(
    ("tune", "is_asked"),
    [
        pytest.param("", False, id="unpinned"),
        pytest.param("<cputune><shares>1024</shares></cputune>", False, id="shares"),
        pytest.param("<cputune><vcpupin vcpu='0' cpuset='3'/></cputune>", True, id="pinned"),
        pytest.param(
            "<cputune><vcpupin vcpu='0' cpuset='3'/></cputune><numatune><memory mode='restrictive' nodeset='0'/>"
            "</numatune>",
            True,
            id="pinned and bound by an agent",
        ),
        pytest.param(
            "<cputune><vcpupin vcpu='0' cpuset='3'/></cputune><numatune><memory mode='strict' nodeset='0'/>"
            "<memnode cellid='0' mode='strict' nodeset='0'/></numatune>",
            False,
            id="pinned by Nova",
        ),
    ],
)
def test_guests_without_a_template_that_may_have_a_class(
    monkeypatch: pytest.MonkeyPatch, tune: str, *, is_asked: bool
) -> None:
    """The agent is asked of those that Nova has not pinned; its pins replace theirs, and else they stay as they are."""
    xml = PLAIN.format(tune).encode()
    monkeypatch.setattr(qemu_hook, "ask", lambda *_: PINS)
    assert (edited(xml, PINS) if is_asked else xml) == qemu_hook.edit(xml, "nowhere", qemu_hook.Deadline())
    monkeypatch.setattr(qemu_hook, "ask", lambda *_: None)
    assert xml == qemu_hook.edit(xml, "nowhere", qemu_hook.Deadline())

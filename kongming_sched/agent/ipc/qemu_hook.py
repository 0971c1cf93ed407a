#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""kongming-qemu-hook: gives a guest that arrives here the pins of this host before it runs, and starts none unpinned.

libvirt calls it with the XML of every guest that migrates to this host or is restored from a file. Where Nova's
metadata names a template, the agent is asked which CPUs and which NUMA node the guest shall have here, and these
replace the pins that it had where it comes from. Without an answer those are only taken out, and the agent pins the
guest once it runs.

A guest without a template may be pinned because an operator has given it a class, which the agent knows. So it is asked
of such a guest too, and without an answer the XML stays as it is.

Nothing on standard output means to libvirt that the XML stays as it is. That is what every other guest gets, and also
whatever cannot be understood without a doubt. The exit code is 0, because any other would end the migration.

libvirt also calls it with the XML of every guest that is about to start, those that migrate or are restored included.
A guest of a template is not started, by exit code 1, if no agent works here: nothing would pin it, and it would run on
the dedicated CPUs of other guests. Nova then takes another host. An agent that is just being restarted is waited for.
A guest that starts with pins, as Nova gives them to those that it lays out itself, waits until the agent has cleared
these CPUs of other guests, and is not started if that cannot be.

Everything from the first byte of the XML to the last edit has a second, for libvirt waits meanwhile. What takes longer
is handed on without the old pins if these were found, and else as it is.

This one file is what is installed, so it needs the standard library and nothing else, and Python 3.8 is enough. It
edits the bytes of the XML in place and so leaves every other byte alone.

Over 300 lines because what libvirt runs is one file: it cannot import the parts from elsewhere.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from xml.parsers import expat

SOCKET = "/run/kongming/agent.sock"
"""Where the agent listens; the installed copy names the place that the agent's options say."""
GREETING = b"kongming-arrival 1\n"
"""Before the XML, so that an agent and a hook of different releases do not misunderstand each other."""
START_GREETING = b"kongming-start 1\n"
"""Asks whether the agent works, before a guest starts."""
CLEAR_GREETING = b"kongming-start 2\n"
"""Before a line with the seconds that the hook can wait, and the XML of a guest that starts with pins."""
REFUSE_STARTS = True
"""Whether guests of templates start only while an agent works; the installed copy has what the agent's options say."""
START_PATIENCE_SECONDS = 15.0
"""How long a start waits for an agent: systemd takes five seconds to start it again, and its first pass a few more."""
TRY_SECONDS = 1.0
"""How long an agent has for an answer to one question whether it works."""
_PAUSE_SECONDS = 0.2
"""How long before the agent is asked again whether it works, or whether CPUs are clear by now."""
MAX_BYTES = 4 * 1024 * 1024
"""More than any guest's XML; a hundred disks take a tenth of it."""
PATIENCE_SECONDS = 1.0
"""For all of the hook's work, the agent's answer included."""
_EDITING_SECONDS = 0.2
"""What is left of that when the agent is no longer waited for, so that its answer can still be put into the XML."""

_NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
_TEMPLATE_KEY = "kongming:template"
_TEMPLATE_PATH = (
    "domain",
    "metadata",
    f"{_NOVA} instance",
    f"{_NOVA} flavor",
    f"{_NOVA} extraSpecs",
    f"{_NOVA} extraSpec",
)
_PIN_DEPTH = 3
_PINS = ("vcpupin", "emulatorpin", "iothreadpin")
_BEFORE_CPUTUNE = ("vcpu", "vcpus", "iothreads", "iothreadids", "defaultiothread")
_WITH_PINS = ("cputune", "numatune")
_WANTED = frozenset((*_BEFORE_CPUTUNE, *_WITH_PINS))
_REST_OF_TAG = re.compile(rb"""[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
_SPACE = b" \t\r\n"
_CPUS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*")
_NUMBER = re.compile(r"[0-9]{1,10}")
_DECLARED = re.compile(rb"""<\?xml[^>]{1,100}?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,40})["']""")
_BEGINNINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""What an XML begins with, and its encoding by that (appendix F of the XML recommendation), the longer ones first."""


class Doubt(Exception):
    """Something is not as libvirt and Nova write it, so that it is better not to touch anything."""


class Late(Exception):
    """The time is over."""


class Deadline:
    """The end of the hook's time.

    :param clock: seconds since the machine's start
    """

    def __init__(self, seconds: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """The seconds that are left; never 0, which to sockets and timers means something else."""
        return max(self._end - self._clock(), 0.001)

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._end

    def earlier(self, seconds: float) -> Deadline:
        """Another one, so many seconds before this."""
        return Deadline(self.left() - seconds, self._clock)


@contextlib.contextmanager
def limited(deadline: Deadline) -> Iterator[None]:
    """End what is done inside when its time is over, whether it computes, reads or waits.

    :raises Late: then
    """

    def end(*_: object) -> None:
        raise Late("it takes too long")

    # The handler stays: a signal that comes at the very end would otherwise find none and end the process.
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, deadline.left())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Text:
    """An XML in UTF-8, and the encoding in which it came.

    :ivar utf8: the document
    :raises Doubt: if it is not in the encoding that it names, or would not be the same written out again
    """

    def __init__(self, xml: bytes) -> None:
        self.utf8 = xml
        self._encoding = _encoding(xml)
        if self._encoding == "utf-8":
            return
        try:
            self.utf8 = xml.decode(self._encoding).encode()
            again = self.encode(self.utf8)
        except (LookupError, UnicodeError) as error:
            raise Doubt(f"it cannot be read: {error}") from error
        if again != xml:
            raise Doubt(f"it would not be the same written out in {self._encoding} again")

    def encode(self, utf8: bytes) -> bytes:
        """A changed document in the encoding of this one."""
        return utf8 if self._encoding == "utf-8" else utf8.decode().encode(self._encoding)


def _encoding(xml: bytes) -> str:
    """The encoding of an XML by its first bytes, else by its declaration."""
    for start, encoding in _BEGINNINGS:
        if xml.startswith(start):
            return encoding
    # A declaration that can be read byte by byte is in none of the wide encodings, whatever it names.
    declared = _DECLARED.match(xml)
    name = declared[1].decode().lower() if declared else "utf-8"
    return "utf-8" if name.startswith(("utf", "ucs", "iso-10646")) else name


class Element:
    """An element and where it stands in the text.

    :ivar start: of its start tag
    :ivar inside: behind its start tag
    :ivar inside_end: of its end tag; the same as ``start`` for an empty element, which has none
    :ivar end: behind it
    """

    __slots__ = ("attributes", "children", "end", "inside", "inside_end", "name", "start")

    def __init__(self, name: str, attributes: Mapping[str, str], start: int, inside: int) -> None:
        self.name = name
        self.attributes = attributes
        self.start = start
        self.inside = inside
        self.inside_end = start
        self.end = inside
        self.children: list[Element] = []

    @property
    def is_empty_tag(self) -> bool:
        """Whether it is written as one tag."""
        return self.inside_end == self.start

    def find(self, *names: str) -> list[Element]:
        """The children of these names."""
        return [child for child in self.children if child.name in names]


class DomainReader:
    """Reads where in a domain's XML the pins stand, and whether its flavor names a template.

    Nothing is expanded: a document type, and with it every entity of its own, is refused.

    :ivar domain: the root element, with those below it that hold pins, or behind which they belong
    :raises Doubt: if it is not the XML of a domain
    """

    def __init__(self, xml: bytes) -> None:
        self._template: list[str] = []
        self._xml = xml
        self._path: list[str] = []
        self._open: list[Element | None] = []
        self._depth = 0
        # Of all parsers of the standard library only expat tells at which byte a tag begins; a tree would have to be
        # written out anew, and libvirt would get another text than Nova's. The space stands between namespace and name.
        self._parser = parser = expat.ParserCreate("utf-8", " ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(xml, True)
        except (expat.ExpatError, ValueError) as error:
            raise Doubt(f"it is not XML: {error}") from error
        if self.domain.name != "domain":
            raise Doubt(f"it is a <{self.domain.name}>")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth <= _PIN_DEPTH:
            self._open.append(self._element(name, attributes) if self._is_wanted(name) else None)
        if self._depth <= len(_TEMPLATE_PATH):
            self._path.append(name)
            is_template = attributes.get("name") == _TEMPLATE_KEY and tuple(self._path) == _TEMPLATE_PATH
            self._parser.CharacterDataHandler = self._text if is_template else None

    def _is_wanted(self, name: str) -> bool:
        """Whether an element that begins here has to do with pins; there may be a million others."""
        if self._depth == 1:
            return True
        parent = self._open[-1]
        if parent is None:
            return False
        return parent.name in _WITH_PINS if self._depth == _PIN_DEPTH else name in _WANTED

    def _element(self, name: str, attributes: Mapping[str, str]) -> Element:
        start = self._parser.CurrentByteIndex
        # expat tells where a tag begins and not where it ends. A > inside of quotes does not end it.
        rest = _REST_OF_TAG.match(self._xml, start)
        if rest is None:
            raise Doubt(f"the tag at byte {start} has no end")
        element = Element(name, attributes, start, rest.end())
        if self._open and (parent := self._open[-1]):
            parent.children.append(element)
        else:
            self.domain = element
        return element

    def _end(self, _name: str) -> None:
        if self._depth <= _PIN_DEPTH:
            element = self._open.pop()
            # An empty tag has one position for its start and its end, and no end tag to be looked for.
            if element and not self._xml.endswith(b"/>", element.start, element.inside):
                element.inside_end = self._parser.CurrentByteIndex
                element.end = self._xml.index(b">", element.inside_end) + 1
        if self._depth <= len(_TEMPLATE_PATH):
            self._path.pop()
            self._parser.CharacterDataHandler = None
        self._depth -= 1

    @property
    def template(self) -> str:
        """The name of the template; empty if the guest has none."""
        return "".join(self._template).strip()

    @property
    def may_have_class(self) -> bool:
        """Whether it is pinned, and not by Nova, which lays the guests that it pins out on nodes."""
        found = {child.name for element in self.domain.find(*_WITH_PINS) for child in element.children}
        return "vcpupin" in found and "memnode" not in found

    def _text(self, text: str) -> None:
        self._template.append(text)  # expat may hand one text over in several pieces

    def _refuse_doctype(self, *_: object) -> None:
        raise Doubt("it has a document type")


class Pins:
    """Pins as libvirt's XML has them.

    :ivar elements: the elements for a <cputune>, in libvirt's order
    :ivar memory: the host NUMA nodes for the memory; empty if it is not to be bound
    """

    def __init__(self, elements: Iterable[str] = (), memory: str = "") -> None:
        self.elements = tuple(elements)
        self.memory = memory

    @classmethod
    def from_answer(cls, answer: bytes) -> Pins:
        """Read the agent's answer.

        :raises ValueError: if it is not one
        """
        fields = json.loads(answer)
        if not isinstance(fields, dict):
            raise ValueError(fields)
        elements = [f"<vcpupin vcpu='{vcpu}' cpuset='{cpus}'/>" for vcpu, cpus in _numbered(fields.get("vcpupin"))]
        if not elements:
            raise ValueError("no vCPU is pinned")
        elements.append(f"<emulatorpin cpuset='{_cpus(fields.get('emulatorpin'))}'/>")
        threads = _numbered(fields.get("iothreadpin"))
        elements += [f"<iothreadpin iothread='{number}' cpuset='{cpus}'/>" for number, cpus in threads]
        memory = fields.get("memory")
        return cls(elements, _cpus(memory) if memory else "")


def _numbered(pins: object) -> list[tuple[int, str]]:
    if not isinstance(pins, dict) or not all(map(_NUMBER.fullmatch, pins)):
        raise ValueError(pins)  # whatever is wrong with an answer is one error
    return sorted((int(number), _cpus(cpus)) for number, cpus in pins.items())


def _cpus(text: object) -> str:
    if not isinstance(text, str) or not _CPUS.fullmatch(text):
        raise ValueError(text)
    return text


def replace_pins(xml: bytes, domain: Element, pins: Pins) -> bytes:
    """The XML of a domain with these pins instead of its own.

    :raises Doubt: if it has no place for them
    """
    if not domain.find("vcpu"):
        raise Doubt("it has no <vcpu>")
    cputune = domain.find("cputune")
    anchor = domain.find(*_BEFORE_CPUTUNE)[-1].end
    edits = _cputune_edits(xml, cputune, anchor, pins.elements)
    edits += _numatune_edits(xml, domain.find("numatune"), cputune[-1].end if cputune else anchor, pins.memory)
    return _carry_out(xml, edits)


def _carry_out(xml: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The text after edits, no two of which touch the same byte. Each byte is copied once: there may be 60,000 pins."""
    parts: list[bytes] = []
    position = 0
    for start, end, text in sorted(edits):
        parts += (xml[position:start], text)
        position = end
    return b"".join((*parts, xml[position:]))


def _cputune_edits(
    xml: bytes, found: list[Element], anchor: int, elements: tuple[str, ...]
) -> list[tuple[int, int, bytes]]:
    """Take the pins out and put others in, where they stood if there were any."""
    lines = "".join(f"\n    {element}" for element in elements).encode()
    if not found:
        return [(anchor, anchor, b"\n  <cputune>" + lines + b"\n  </cputune>")] if lines else []
    edits = []
    for cputune in found:
        mine = [(_line_start(xml, pin.start), pin.end, b"") for pin in cputune.find(*_PINS)]
        # New pins go into the first <cputune>. One that is left with nothing else goes away with its pins, for libvirt
        # writes none that is empty, and the XML shall be as if the guest had never been pinned.
        if lines and cputune is found[0]:
            mine = _put_in(xml, cputune, mine, lines)
        elif mine and not _rest(xml, cputune, mine):
            mine = [(_line_start(xml, cputune.start), cputune.end, b"")]
        edits += mine
    return edits


def _put_in(
    xml: bytes, cputune: Element, removals: list[tuple[int, int, bytes]], lines: bytes
) -> list[tuple[int, int, bytes]]:
    """Put pins into a <cputune> out of which others may be taken."""
    if removals:  # where the first of the old ones stood
        return [(*removals[0][:2], lines), *removals[1:]]
    if cputune.is_empty_tag:
        return [(cputune.start, cputune.end, b"<cputune>" + lines + b"\n  </cputune>")]
    end = _line_start(xml, cputune.inside_end)
    return [(end, end, lines)]


def _numatune_edits(xml: bytes, found: list[Element], anchor: int, memory: str) -> list[tuple[int, int, bytes]]:
    """Bind the memory, or do not, unless it is bound in another way than the agent's."""
    line = f"<memory mode='restrictive' nodeset='{memory}'/>".encode()
    if not found:
        return [(anchor, anchor, b"\n  <numatune>\n    " + line + b"\n  </numatune>")] if memory else []
    # Whatever else stands there (a strict binding, bindings of single guest nodes) is Nova's or an operator's, and not
    # for the hook to change.
    children = [child for numatune in found for child in numatune.children]
    if len(found) > 1 or len(children) != 1 or not _is_ours(children[0]):
        return []
    if memory:
        return [(children[0].start, children[0].end, line)]
    edits = [(_line_start(xml, children[0].start), children[0].end, b"")]
    return edits if _rest(xml, found[0], edits) else [(_line_start(xml, found[0].start), found[0].end, b"")]


def _is_ours(memory: Element) -> bool:
    """Whether a binding is one of those that the agent makes; Nova makes no restrictive ones."""
    attributes = dict(memory.attributes)
    placement = attributes.pop("placement", "static")
    return (
        memory.name == "memory"
        and placement == "static"
        and attributes.keys() == {"mode", "nodeset"}
        and attributes["mode"] == "restrictive"
    )


def _rest(xml: bytes, element: Element, edits: list[tuple[int, int, bytes]]) -> bytes:
    """What an element holds after edits that only take out, without the space around it."""
    outside = [(0, element.inside, b""), (element.inside_end, len(xml), b"")]
    return _carry_out(xml, [*outside, *edits]).strip(_SPACE)


def _line_start(xml: bytes, position: int) -> int:
    """Where the space before a tag starts, which goes with it."""
    # Through a window that doubles, so that neither much text nor much space makes it slow.
    width = 64
    while True:
        begin = max(position - width, 0)
        start = begin + len(xml[begin:position].rstrip(_SPACE))
        if start > begin or begin == 0:
            return start
        width *= 2


def without_pins(xml: bytes) -> bytes:
    """The XML of a guest of a template without the agent's pins; anything else as it is."""
    with contextlib.suppress(Doubt):
        text = Text(xml)
        reader = DomainReader(text.utf8)
        if reader.template:
            return text.encode(replace_pins(text.utf8, reader.domain, Pins()))
    return xml


def ask(path: str, xml: bytes, deadline: Deadline) -> Pins | None:
    """Ask the agent; None if it has no answer in time."""
    try:
        return Pins.from_answer(_exchange(path, GREETING + xml, deadline))
    except (OSError, ValueError, RecursionError) as error:
        print(f"kongming-qemu-hook: the agent at {path} does not say where the guest belongs: {error}", file=sys.stderr)
    return None


def _exchange(path: str, question: bytes, deadline: Deadline) -> bytes:
    """Say something to the agent; gives what it says before it hangs up, and of too much the beginning.

    :raises OSError: if it does not take the question, or does not hang up in time
    """
    # The whole exchange has one deadline, and not each call: libvirt waits for the hook, and with it the source of the
    # migration.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(deadline.left())
        connection.connect(path)
        connection.settimeout(deadline.left())
        connection.sendall(question)
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while len(answer) < MAX_BYTES:
            connection.settimeout(deadline.left())
            chunk = connection.recv(65536)
            if not chunk:
                break
            answer += chunk
        return bytes(answer)


def edit(xml: bytes, path: str, deadline: Deadline) -> bytes:
    """The XML as libvirt shall have it; without the pins of another host if the time is over before there are others.

    :raises Doubt: if it is better not touched
    :raises Late: if the time was too short to find the pins
    """
    if len(xml) > MAX_BYTES:
        raise Doubt(f"it has more than {MAX_BYTES} bytes")
    with limited(deadline):
        text = Text(xml)
        reader = DomainReader(text.utf8)
        if not reader.template and not reader.may_have_class:
            return xml
        # Whether the pins of a guest without a template are those of a class, only the agent knows.
        bare = text.encode(_replaced(text.utf8, reader.domain, Pins())) if reader.template else xml
    with contextlib.suppress(Late), limited(deadline):
        pins = ask(path, text.utf8, deadline.earlier(_EDITING_SECONDS))
        if pins is not None:
            return text.encode(_replaced(text.utf8, reader.domain, pins))
    return bare


def _replaced(xml: bytes, domain: Element, pins: Pins) -> bytes:
    """As replace_pins(), and read once more, for an edit that broke the XML would end the migration."""
    edited = replace_pins(xml, domain, pins)
    DomainReader(edited)
    return edited


class Refusal:
    """Why a guest is not to start.

    :ivar is_answer: whether the agent says so; else it has not answered as it should
    :ivar is_final: whether asking again would not help
    """

    __slots__ = ("is_answer", "is_final", "reason")

    def __init__(self, reason: str, *, is_answer: bool = False, is_final: bool = False) -> None:
        self.reason = reason
        self.is_answer = is_answer
        self.is_final = is_final


def refusal(path: str, deadline: Deadline, pinned: bytes = b"") -> Refusal | None:
    """Why a guest of a template may not start: no agent has said in time that it works. None if one has.

    :param pinned: the XML of a guest that starts with pins, whose CPUs are to be clear of other guests
    """
    given = None
    while True:
        # Each has its whole time. A last one cut short would say "timed out" of an agent that has given another reason.
        seconds = max(deadline.left(), TRY_SECONDS) if pinned else TRY_SECONDS
        found = _ask_for_start(path, pinned, seconds)
        if found is None or not (REFUSE_STARTS or found.is_answer):
            return None
        if given is None or found.is_answer or not given.is_answer:
            given = found
        if found.is_final or deadline.is_over:
            return given
        time.sleep(min(_PAUSE_SECONDS, deadline.left()))


def _ask_for_start(path: str, pinned: bytes, seconds: float) -> Refusal | None:
    """Ask the agent once; see refusal()."""
    question = CLEAR_GREETING + f"{seconds:.0f}\n".encode() + pinned if pinned else START_GREETING
    try:
        answer = _exchange(path, question, Deadline(seconds))
        if not answer and not pinned:
            return None  # one of an older release does not know the question and hangs up, which shows that it runs
        if not answer:
            return Refusal(f"the agent at {path} has hung up")
        fields = json.loads(answer)
        if fields.get("running") is not True:
            return Refusal(f"the agent at {path} does not see this host; see its log")
        if pinned and fields.get("clear") is not True:
            return Refusal(str(fields.get("reason")), is_answer=True, is_final=fields.get("retry") is not True)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return Refusal(f"the agent at {path} does not answer ({error})")
    return None


def start(name: str, path: str) -> int:
    """The exit code for a guest that is about to start; whatever is no guest of a template starts."""
    with limited(Deadline()):
        text = Text(read(0))
        reader = DomainReader(text.utf8)
    is_pinned = any(cputune.find(*_PINS) for cputune in reader.domain.find("cputune"))
    if not reader.template or not (REFUSE_STARTS or is_pinned):
        return 0
    found = refusal(path, Deadline(START_PATIENCE_SECONDS), text.utf8 if is_pinned else b"")
    if found is None:
        return 0
    why = f"{name} has a template, and nothing would pin it: {found.reason}. Start kongming-agent, or set"
    why += " [kongming_agent] refuse_starts_without_agent = false and run 'kongming-host hook install'"
    if found.is_answer:
        why = f"{name} does not start here: {found.reason}"
    print(f"kongming-qemu-hook: {why}", file=sys.stderr)
    return 1


def read(descriptor: int) -> bytes:
    """Everything from a descriptor; of what is too long only the beginning, for libvirt waits until all is taken."""
    kept, length = [], 0
    while chunk := os.read(descriptor, 65536):
        if length <= MAX_BYTES:
            kept.append(chunk)
            length += len(chunk)
    return b"".join(kept)


def main(arguments: list[str], path: str = SOCKET) -> int:
    """Be the hook: NAME OPERATION SUB-OPERATION EXTRA, and the XML on standard input."""
    gc.disable()  # to search for circles takes a third of the time of a large XML, and the process ends soon
    try:
        if arguments[1:3] == ["start", "begin"]:
            return start(arguments[0], path)
        if arguments[1:3] not in (["migrate", "begin"], ["restore", "begin"]):
            return 0
        deadline = Deadline()
        with limited(deadline):
            xml = read(0)
        edited = edit(xml, path, deadline)
        if edited != xml:
            _write(edited)
    except (Doubt, Late) as reason:
        print(f"kongming-qemu-hook: the XML of {arguments[0]} stays as it is: {reason}", file=sys.stderr)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the guest must come
        with contextlib.suppress(Exception):
            print(f"kongming-qemu-hook: {error!r}", file=sys.stderr)
    return 0


def _write(text: bytes) -> None:
    """Write to standard output past Python's own buffers, which could fail at the exit."""
    view = memoryview(text)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

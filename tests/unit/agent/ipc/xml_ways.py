# SPDX-License-Identifier: Apache-2.0
"""Other ways to write the same XML: what one program writes another may write differently, and both mean one thing."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from xml.dom import Node, minidom  # of the samples beside this file
from xml.sax.saxutils import escape

_MISLEADING = "<!-- a > b ' \" </cputune><vcpupin vcpu='0' cpuset='9'/> -->"


def _cdata(text: str) -> str:
    """Text that is not to be read as markup; the end of such a part cannot stand within one."""
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _references(text: str) -> str:
    """Every character by its number."""
    return "".join(f"&#{ord(letter)};" if index % 2 else f"&#x{ord(letter):x};" for index, letter in enumerate(text))


@dataclass(frozen=True)
class Style:
    """How a document is written.

    :ivar quote: around the values of attributes
    :ivar gap: before each attribute
    :ivar equals: between its name and its value
    :ivar close: the end of a start tag
    :ivar has_pairs: whether an element without content has two tags
    :ivar is_shuffled: whether attributes stand in another order
    :ivar between: what stands between two elements
    :ivar text: how text is written, and ``value`` that of attributes
    """

    quote: str = "'"
    gap: str = " "
    equals: str = "="
    close: str = ">"
    has_pairs: bool = False
    is_shuffled: bool = False
    between: str = ""
    text: Callable[[str], str] = escape
    value: Callable[[str], str] = lambda text: escape(text, {"'": "&apos;", '"': "&quot;"})


def _write(node: minidom.Node, style: Style, shuffle: Callable[[list[tuple[str, str]]], None]) -> Iterator[str]:
    """One element with all that is in it."""
    assert isinstance(node, minidom.Element)
    attributes = list(node.attributes.items())
    if style.is_shuffled:
        shuffle(attributes)
    yield "<" + node.tagName
    for name, value in attributes:
        yield f"{style.gap}{name}{style.equals}{style.quote}{style.value(value)}{style.quote}"
    if not node.childNodes and not style.has_pairs:
        yield "/>"
        return
    yield style.close
    has_elements = any(child.nodeType == Node.ELEMENT_NODE for child in node.childNodes)
    for child in node.childNodes:
        if isinstance(child, minidom.Element):
            yield style.between
            yield from _write(child, style, shuffle)
        elif isinstance(child, minidom.Text):
            yield child.data if has_elements else style.text(child.data)
    yield style.between if has_elements else ""
    yield f"</{node.tagName}{style.close}"


def _by(style: Style) -> Callable[[str], str]:
    """Write a document in a style."""

    def write(xml: str) -> str:
        root = minidom.parseString(xml.encode()).documentElement  # noqa: S318  # a sample
        assert root is not None
        return "".join(_write(root, style, random.Random(xml).shuffle)) + "\n"

    return write


def _renamed(prefix: str) -> Callable[[str], str]:
    """Nova's elements with another prefix, or with none."""

    def write(xml: str) -> str:
        xml = xml.replace("xmlns:nova=", f"xmlns:{prefix}=" if prefix else "xmlns=")
        return re.sub(r"(</?)nova:", rf"\1{prefix}:" if prefix else r"\1", xml)

    return write


WAYS: Mapping[str, Callable[[str], str]] = {
    "CRLF": lambda xml: xml.replace("\n", "\r\n"),
    "minified": lambda xml: re.sub(r">\s+<", "><", xml).strip(),
    "comments": _by(Style(between=_MISLEADING)),
    "processing instructions": lambda xml: (
        "<?xml version='1.0' encoding='utf-8'?>\n<?a > b?>\n" + _by(Style(between="<?vcpupin cpuset='9' >?>"))(xml)
    ),
    "shuffled attributes": _by(Style(is_shuffled=True)),
    "another prefix": _renamed("n0"),
    "no prefix": _renamed(""),
    "other quotes": _by(Style(quote='"')),
    "pairs of tags": _by(Style(has_pairs=True)),
    "space in tags": _by(Style(gap="\n\t", equals=" =\r\n ", close=" \n>")),
    "references": _by(Style(text=_references, value=_references)),
    "CDATA": _by(Style(text=_cdata)),
}
"""Each way by its name."""

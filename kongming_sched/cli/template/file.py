# SPDX-License-Identifier: Apache-2.0
"""Templates from a YAML or JSON file, with the file's line in every error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import yaml
from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.printable import quote
from kongming_sched.texts.whole_number import NODE_IDS, find_whole_number

STDIN = "-"
"""The name of the file that stands for standard input."""

MAX_BYTES = 1 << 20
"""No template is larger: one that pins each of 8191 vCPUs for itself has a tenth of it, and 2000 usual ones fit."""

MAX_UNFOLDED = 2 * MAX_BYTES
"""What a template's values come to at most with all aliases written out, in characters and one more for each."""

MAX_CELLS = len(NODE_IDS)
"""Each is on a NUMA node of its own."""

_TAG = "tag:yaml.org,2002:"
_TAGS = {f"{_TAG}{kind}" for kind in ("map", "seq", "str", "int", "null", "merge")}
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which here takes fewer plain words for something else than text.

    To YAML 1.1 the CPU sets 010 and 1:30 are the numbers 8 and 90, and the name "on" is true. Here only decimal numbers
    are numbers, and the rest is text for the template's own rules to judge.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # as PyYAML has it


_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(rf"{_INT.pattern}$"), list("-0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<$"), ["<"])


class TemplateFile:
    """A file with one template or more: as documents of their own, or in a list.

    :param file: a path, or :data:`STDIN`
    :raises InvalidTemplateFile: if it cannot be read, is not YAML, or breaks a rule of templates
    :ivar templates: what it holds, in its order
    """

    def __init__(self, file: str) -> None:
        self._name = "<stdin>" if file == STDIN else file
        roots = list(_items(self._compose(_read_text(self._name, file))))
        if not roots:
            raise exceptions.InvalidTemplateFile(self._name, None, "holds no template")
        self.templates = tuple(self._read(root) for root in roots)
        lines: dict[str, int] = {}
        for template, root in zip(self.templates, roots, strict=True):
            if template.name in lines:
                reason = f"template {template.name!r} is given twice, first in line {lines[template.name]}"
                raise self._refuse(root, reason)
            lines[template.name] = root.start_mark.line + 1

    @property
    def template(self) -> PinningTemplate:
        """The one template that it holds.

        :raises InvalidTemplateFile: if there are more
        """
        if len(self.templates) > 1:
            reason = f"holds {len(self.templates)} templates, and only one can be meant"
            raise exceptions.InvalidTemplateFile(self._name, None, reason)
        return self.templates[0]

    def _error(self, root: yaml.Node, error: exceptions.InvalidTemplate) -> exceptions.InvalidTemplateFile:
        """The same error, with the line of as much of its path ``cells[0].pins[1]`` as the file has."""
        node, line = root, root.start_mark.line
        for word in re.findall(r"[^.\[\]]+", error.path):
            found = _child(node, word)
            if found is None:
                break
            node, line = found
        return exceptions.InvalidTemplateFile(self._name, line + 1, str(error))

    def _compose(self, text: str) -> list[yaml.Node]:
        """The nodes of each document, with their lines."""
        try:
            return list(yaml.compose_all(text, _Loader))
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except yaml.reader.ReaderError as error:  # a control character; its position counts characters
            line = text.count("\n", 0, error.position) + 1
            reason = f"not YAML: {error.reason} (#x{error.character:04x})"
            raise exceptions.InvalidTemplateFile(self._name, line, reason) from error
        except RecursionError as error:
            raise exceptions.InvalidTemplateFile(self._name, None, "is nested too deeply") from error

    def _read(self, root: yaml.Node) -> PinningTemplate:
        loader = _Loader("")
        try:
            self._measure(root, {})
            self._check(root, set())
            self._check_cells(root)
            return PinningTemplate.from_mapping(loader.construct_document(root))
        except exceptions.InvalidTemplate as error:
            raise self._error(root, error) from error
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except RecursionError as error:
            raise exceptions.InvalidTemplateFile(self._name, None, "is nested too deeply") from error
        finally:
            loader.dispose()

    def _measure(self, node: yaml.Node, known: dict[int, int]) -> int:
        """What a node comes to with its aliases written out: few lines may make gigabytes of it.

        :param known: the sizes so far; 0 of what is being measured
        """
        if id(node) in known:
            if not known[id(node)]:
                raise self._refuse(node, "holds itself by an alias; write out what is meant")
            return known[id(node)]
        known[id(node)] = 0
        if isinstance(node, yaml.ScalarNode):
            size = 1 + len(node.value)
        elif isinstance(node, yaml.MappingNode):
            size = 1 + sum(self._measure(part, known) for pair in node.value for part in pair)
        else:
            size = 1 + sum(self._measure(item, known) for item in node.value)
        if size > MAX_UNFOLDED:
            reason = f"with its aliases it comes to more than {MAX_UNFOLDED} characters; write out what is meant"
            raise self._refuse(node, reason)
        known[id(node)] = size
        return size

    def _check_cells(self, root: yaml.Node) -> None:
        """Refuse more cells than a host has NUMA nodes, before each of them is read."""
        cells = _child(root, "cells")
        if cells and isinstance(cells[0], yaml.SequenceNode) and len(cells[0].value) > MAX_CELLS:
            reason = f"has {len(cells[0].value)} cells, and a host has no more than {MAX_CELLS} NUMA nodes for them"
            raise self._refuse(cells[0], reason)

    def _check(self, node: yaml.Node, seen: set[int]) -> None:
        """Refuse what YAML lets pass and no template means: tags, keys that are no words, keys that stand twice."""
        if id(node) in seen:  # an alias
            return
        seen.add(id(node))
        if node.tag not in _TAGS or (node.tag == f"{_TAG}int" and not _INT.fullmatch(node.value)):
            raise self._refuse(node, f"a template has no values of the tag {node.tag}; leave it out")
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._check(item, seen)
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            for key, value in node.value:
                self._check(key, seen)
                self._check(value, seen)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refuse(key, "a key must be a word or a number")
            if key.value in lines:
                raise self._refuse(key, f"key {quote(key.value)} is given twice, first in line {lines[key.value]}")
            lines[key.value] = key.start_mark.line + 1

    def _refuse(self, node: yaml.Node, reason: str) -> exceptions.InvalidTemplateFile:
        return exceptions.InvalidTemplateFile(self._name, node.start_mark.line + 1, reason)

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> exceptions.InvalidTemplateFile:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        return exceptions.InvalidTemplateFile(self._name, mark.line + 1 if mark else None, f"not YAML: {reason}")


def read_template(file: str, name: str | None) -> PinningTemplate:
    """The one template in a file, which must have this name if one is given."""
    template = TemplateFile(file).template
    if name not in (None, template.name):
        raise osc_exceptions.CommandError(f"{file} holds template {template.name!r}, not {name!r}; correct one of them")
    return template


def read_templates(files: Sequence[str], name: str | None) -> dict[str, PinningTemplate]:
    """The templates in all files by name; a single one if a name is given."""
    if name is not None and len(files) == 1:
        return {name: read_template(files[0], name)}
    if name is not None:
        raise osc_exceptions.CommandError("a name is for one file with one template; leave it out")
    found: dict[str, PinningTemplate] = {}
    for file in files:
        for template in TemplateFile(file).templates:
            if template.name in found:
                raise exceptions.InvalidTemplateFile(file, None, f"template {template.name!r} is in another file too")
            found[template.name] = template
    return found


def _items(documents: Iterable[yaml.Node]) -> Iterator[yaml.Node]:
    """The templates of all documents: a document that is a list holds several, an empty one none."""
    for root in documents:
        if isinstance(root, yaml.SequenceNode) and root.tag == f"{_TAG}seq":
            yield from root.value
        elif root.tag != f"{_TAG}null":
            yield root


def _child(node: yaml.Node, word: str) -> tuple[yaml.Node, int] | None:
    """The value of a key, or the item of a number, and its line counted from 0."""
    if isinstance(node, yaml.MappingNode):
        return next(((value, key.start_mark.line) for key, value in node.value if key.value == word), None)
    if isinstance(node, yaml.SequenceNode) and (index := find_whole_number(word, range(len(node.value)))) is not None:
        item = node.value[index]
        return item, item.start_mark.line
    return None


def _read_text(name: str, file: str) -> str:
    try:
        with nullcontext(sys.stdin.buffer) if file == STDIN else Path(file).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise exceptions.InvalidTemplateFile(name, None, f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise exceptions.InvalidTemplateFile(
            name, None, f"has more than {MAX_BYTES} bytes; write its templates into several files"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise exceptions.InvalidTemplateFile(name, line, "is not UTF-8") from error

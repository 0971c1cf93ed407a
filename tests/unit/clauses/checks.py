# SPDX-License-Identifier: Apache-2.0
"""What must know each clause of a template and is not made from its declaration. Each check gives complaints, or none.

All take the class of the templates, so that a test can ask them of one with a made-up clause.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from kongming_sched import schemas
from kongming_sched.clauses.clause import Clause, clauses_of, written
from kongming_sched.clauses.kinds import Choice, Part, Parts
from kongming_sched.placement.forms.table import form_of
from kongming_sched.qos import VcpuQos, VcpuQuotas
from kongming_sched.schemas.templates import file_schema, printed_schema
from kongming_sched.template import Name, PinningTemplate
from tests.unit import strategies

ROOT = Path(__file__).parents[3]
STORED = ROOT / "tests/unit/placement/stored_templates.yaml"

sys.path.append(str(ROOT / "doc/ext"))
from kongming_reference import clauses as tables  # noqa: E402  # found only now


def parts_of(part: type) -> Iterator[type]:
    """A class of clauses, and those of the objects in it."""
    yield part
    for clause in clauses_of(part):
        if isinstance(clause.kind, Part | Parts):
            yield from parts_of(clause.kind.part)
        elif isinstance(clause.kind, VcpuQuotas):
            yield VcpuQos


def without_form(template: type[PinningTemplate]) -> list[str]:
    """Clauses that no trait can hold."""
    complaints = []
    for part in parts_of(template):
        for clause in clauses_of(part) if part is not VcpuQos else ():  # which VcpuQuotas holds
            try:
                _ = isinstance(clause.kind, Name | Part | Parts) or form_of(clause)
            except TypeError as error:
                complaints.append(f"{part.__name__}: {error}")
    return complaints


def with_the_same_word(template: type[PinningTemplate]) -> list[str]:
    """Clauses of one class whose traits would begin with the same word, or as those of cells and periods do."""
    complaints = []
    for part in parts_of(template):
        for one, other in combinations(clauses_of(part), 2):
            if one.word == other.word:
                complaints.append(f"{part.__name__}: {one.name} and {other.name} have the same word {one.word}")
        for clause in clauses_of(part):
            if re.match(r"[CH][0-9]", clause.word) or not re.fullmatch(r"[A-Z][A-Z0-9_]*[A-Z0-9]", clause.word):
                complaints.append(f"{part.__name__}: {clause.name} has the word {clause.word}, which fits no trait")
    return complaints


def not_drawn(template: type[PinningTemplate]) -> list[str]:
    """Clauses that the property tests do not know how to draw, so that no property of them is tested."""
    by_hand = {"name", "cells", "pins", "vcpu_quotas_us", "hours"}
    complaints = []
    for part in parts_of(template):
        for clause in clauses_of(part):
            try:
                _ = clause.attribute in by_hand or strategies.values(clause)
            except TypeError as error:
                complaints.append(f"{part.__name__}: {error}")
    return complaints


def not_published(template: type[PinningTemplate]) -> list[str]:
    """Where the published schemas do not say what the clauses say."""
    made = {"template-v1": file_schema(template), "template-printed-v1": printed_schema(template)}
    remedy = "renew it with KONGMING_RENEW=1 pytest tests/unit/schemas"
    return [
        f"kongming_sched/schemas/{name}.json {difference}; {remedy}"
        for name, schema in made.items()
        for difference in _differences(schemas.load_schema(name), json.loads(json.dumps(schema)), "")
    ]


def _differences(published: Any, made: Any, path: str) -> Iterator[str]:
    if isinstance(published, dict) and isinstance(made, dict):
        yield from (f"lacks {path}/{key}" for key in made if key not in published)
        yield from (f"has {path}/{key}, which is gone" for key in published if key not in made)
        for key in published.keys() & made.keys():
            yield from _differences(published[key], made[key], f"{path}/{key}")
    elif published != made:
        yield f"has {published!r} instead of {made!r} at {path}"


def not_in_documents(template: type[PinningTemplate]) -> list[str]:
    """Classes without a table in the guide of a language, and tables that lack the sentence of a clause."""
    complaints = []
    for folder in ("doc/source/admin", "doc/source/zh"):
        found = {name: (page, lines) for page in sorted((ROOT / folder).glob("*.rst")) for name, lines in _tables(page)}
        for part in parts_of(template):
            names = [f"{one.__module__}.{one.__qualname__}" for one in part.__mro__]
            name = next((name for name in names if name in found), None)
            if name is None:
                complaints.append(f"no page of {folder} has '.. kongming-clauses:: {names[0]}'")
                continue
            page, lines = found[name]
            translated = tables.sentences(lines) if lines or folder.endswith("zh") else None
            try:
                list(tables.rows(part, translated, ""))
            except tables.Incomplete as error:
                complaints.append(f"{page.relative_to(ROOT)}: {error}")
    return complaints


def _tables(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The tables of clauses in a page: the class of each, and the lines of its content."""
    pattern = re.compile(r"^\.\. kongming-clauses:: (\S+)\n((?: +.*\n|\n)*)", re.MULTILINE)
    for match in pattern.finditer(page.read_text()):
        lines = (line.strip() for line in match[2].splitlines())
        yield match[1], [line for line in lines if line and not line.startswith(":")]


def not_in_an_example(template: type[PinningTemplate]) -> list[str]:
    """Clauses, and words of theirs, of which no stored template shows the traits."""
    shown: set[tuple[str, str]] = set()
    for entry in yaml.safe_load(STORED.read_text()).values():
        shown.update(_said(template.from_mapping(entry["template"])))
    complaints = []
    for part in parts_of(template):
        for clause in clauses_of(part):
            for value in _values_in_traits(clause):
                if (f"{part.__name__}.{clause.name}", value) not in shown:
                    what = f"{clause.name} {value}".rstrip()
                    complaints.append(f"{STORED.relative_to(ROOT)}: no template with {part.__name__}'s {what}")
    return complaints


def _values_in_traits(clause: Clause) -> list[str]:
    """What has to be shown of a clause: all of its words that are written, or any value."""
    if not isinstance(clause.kind, Choice):
        return [""]
    return [str(word) for word in clause.kind.words if clause.spelled_out or word != clause.default]


def _said(owner: Any) -> Iterator[tuple[str, str]]:
    """What an object says: its clauses, with the words that they have."""
    for clause, value in written(owner):
        yield f"{type(owner).__name__}.{clause.name}", str(value) if isinstance(clause.kind, Choice) else ""
        if isinstance(clause.kind, Part):
            yield from _said(value)
        elif isinstance(clause.kind, Parts):
            for item in value:
                yield from _said(item)
        elif isinstance(clause.kind, VcpuQuotas):
            for _, quota_us in value:
                yield from _said(VcpuQos(quota_us))


CHECKS = (without_form, with_the_same_word, not_drawn, not_published, not_in_documents, not_in_an_example)
"""All of them."""

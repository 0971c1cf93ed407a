# SPDX-License-Identifier: Apache-2.0
"""A clause is declared once, and a place that must know it too and does not is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given

from kongming_sched.clauses.clause import Clause, Kind, Schema, Where, clause, clauses_of
from kongming_sched.clauses.kinds import Choice, Parts
from kongming_sched.cli.template.rows import fields_of
from kongming_sched.compat import StrEnum
from kongming_sched.cpuset import CpuSet
from kongming_sched.exceptions import InvalidTemplate, InvalidTraits
from kongming_sched.placement import codec
from kongming_sched.placement.forms import table
from kongming_sched.placement.forms.form import Form
from kongming_sched.placement.forms.plain import WordForm
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.schemas.templates import file_schema, printed_schema
from kongming_sched.template import CpuPolicy, PinningTemplate, TemplateCell
from tests.unit.clauses import checks
from tests.unit.strategies import templates

Check = Callable[[type[PinningTemplate]], list[str]]


class Disks(StrEnum):
    """The words of a made-up clause."""

    ANY = "any"
    LARGE = "NVMe"


@dataclass(frozen=True, slots=True)
class DiskedCell(TemplateCell):
    """A cell with a made-up clause."""

    disks: Disks = field(default=Disks.ANY, metadata=clause(Choice(Disks), "The disks of the memory."))


@dataclass(frozen=True, slots=True)
class DiskedTemplate(PinningTemplate):
    """A template of such cells."""

    cells: tuple[DiskedCell, ...] = field(metadata=clause(Parts(DiskedCell, "cell"), "The cells."))


@dataclass(frozen=True, slots=True)
class Colour(Kind[str]):
    """A made-up kind of values."""

    def read(self, value: object, where: Where, _before: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Take everything."""
        return str(value)

    def schema(self) -> Schema:
        """A text."""
        return {"type": "string"}

    @property
    def notation(self) -> str:
        """Nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class ColouredTemplate(PinningTemplate):
    """A template with a clause of a made-up kind, whose traits would begin as those of another clause."""

    colour: str = field(default="", metadata=clause(Colour(), "A colour.", word="EMULATOR"))


def disked(**cell: Any) -> dict[str, Any]:
    """The file of a template of one cell."""
    return {"name": "disked", "cells": [{"vcpus": "0-1", "cpus": "dedicated", **cell}]}


DISKED = DiskedTemplate.from_mapping(disked(disks="NVMe"))


@pytest.mark.parametrize("check", checks.CHECKS)
def test_every_clause_is_known_everywhere(check: Check) -> None:
    """No place has been forgotten."""
    assert [] == check(PinningTemplate)


@pytest.mark.parametrize(
    ("check", "template", "complaints"),
    [
        pytest.param(
            checks.not_published,
            DiskedTemplate,
            [
                "kongming_sched/schemas/template-v1.json lacks /properties/cells/items/properties/disks",
                "kongming_sched/schemas/template-printed-v1.json lacks /properties/cells/items/properties/disks",
            ],
            id="the published schemas",
        ),
        pytest.param(
            checks.not_in_documents,
            DiskedTemplate,
            ["doc/source/zh/templates.rst: the table of DiskedCell lacks the sentence of 'disks'"],
            id="the Chinese table",
        ),
        pytest.param(
            checks.not_in_an_example,
            DiskedTemplate,
            ["tests/unit/placement/stored_templates.yaml: no template with DiskedCell's disks NVMe"],
            id="the stored templates",
        ),
        pytest.param(
            checks.without_form,
            ColouredTemplate,
            [
                "ColouredTemplate: clause colour is of the kind Colour, which has no form in"
                " kongming_sched.placement.forms.table.FORMS"
            ],
            id="the forms of traits",
        ),
        pytest.param(
            checks.with_the_same_word,
            ColouredTemplate,
            ["ColouredTemplate: emulator and colour have the same word EMULATOR"],
            id="the words of traits",
        ),
        pytest.param(
            checks.not_drawn,
            ColouredTemplate,
            ["ColouredTemplate: tests/unit/strategies.py draws no Colour, as colour is one"],
            id="the strategies",
        ),
    ],
)
def test_a_place_that_does_not_know_a_clause_is_named(
    check: Check, template: type[PinningTemplate], complaints: list[str]
) -> None:
    """Here a made-up one, of a class whose other clauses have other sentences too."""
    found = [complaint for complaint in check(template) if "disks" in complaint or "colour" in complaint]
    assert complaints == [complaint.partition(";")[0] for complaint in found]


def test_a_field_without_a_clause_is_named() -> None:
    """Nothing could read or store it, so the first use of the class fails."""

    @dataclass(frozen=True, slots=True)
    class Forgetful(TemplateCell):
        """A cell with a field that is no clause."""

        disks: str = "any"

    with pytest.raises(TypeError, match=r"Forgetful\.disks has no clause: give the field metadata=clause\(\.\.\.\)"):
        clauses_of(Forgetful)


def test_a_declared_clause_is_read_and_written() -> None:
    """As every other one: in files only where it is not as by default, and a wrong word is refused with its place."""
    assert Disks.LARGE is DISKED.cells[0].disks
    assert disked(disks="NVMe", threads="any", memory="strict")["cells"] == DISKED.to_mapping()["cells"]
    assert "disks" not in str(DiskedTemplate.from_mapping(disked()).to_mapping())
    with pytest.raises(InvalidTemplate, match=r"template 'disked' at cells\[0\]\.disks: 'tiny' is none of any, NVMe"):
        DiskedTemplate.from_mapping(disked(disks="tiny"))


def test_a_declared_clause_stands_in_traits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not as by default; the traits of a template without it are as before."""
    without = codec.encode(PinningTemplate.from_mapping(disked()))
    assert without | {"CUSTOM_KONGMING_C0_DISKS_NVME"} == codec.encode(DISKED)
    assert without == codec.encode(DiskedTemplate.from_mapping(disked()))
    monkeypatch.setattr(codec, "PinningTemplate", DiskedTemplate)
    assert codec.decode("disked", codec.encode(DISKED)) == DISKED
    with pytest.raises(InvalidTraits, match="clause CUSTOM_KONGMING_C0_DISKS_ANY: says again what another clause says"):
        codec.decode("disked", without | {"CUSTOM_KONGMING_C0_DISKS_ANY"})
    with pytest.raises(InvalidTraits, match="clause CUSTOM_KONGMING_C0_DISKS: 'tiny' is none of any, NVMe"):
        codec.decode("disked", without | {"CUSTOM_KONGMING_C0_DISKS_TINY"})


def test_a_declared_clause_is_shown() -> None:
    """For people where it is not as by default."""
    cells = fields_of(StoredTemplate(DISKED, 1))["cells"]
    assert "vCPU 0-1: dedicated, threads any, disks NVMe" == cells.human_readable()
    assert "NVMe" == cells.machine_readable()[0]["disks"]


def test_a_declared_clause_is_in_the_schemas() -> None:
    """A file may have its words; what commands print of it may get more words without another version of the schema."""
    in_files = file_schema(DiskedTemplate)["properties"]["cells"]["items"]["properties"]["disks"]
    assert {"enum": ["any", "NVMe"], "description": "The disks of the memory."} == in_files
    printed = printed_schema(DiskedTemplate)["properties"]["cells"]["items"]["properties"]["disks"]
    assert {"type": "string"} == printed


def test_a_declared_clause_is_drawn_by_the_property_tests() -> None:
    """Each of its words."""
    drawn: set[Disks] = set()

    @given(templates(DiskedTemplate))
    def draw(template: DiskedTemplate) -> None:
        assert template == DiskedTemplate.from_mapping(template.to_mapping())
        assert codec.encode(template)
        drawn.update(cell.disks for cell in template.cells)

    draw()
    assert set(Disks) == drawn


def test_what_would_be_lost_in_placement_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that forgets a value is found out by the first template that has one."""

    class Forgetful(WordForm):
        """Writes nothing."""

        def write(self, clause: Clause, value: Any, owner: Any) -> Iterator[str]:
            """Nothing but what is as by default."""
            return (text for text in super().write(clause, value, owner) if text != "NVME")

    patched: dict[type[Any], Form] = {**table.FORMS, Choice: Forgetful()}
    monkeypatch.setattr(table, "FORMS", patched)
    with pytest.raises(InvalidTemplate, match=r"'disked' at cells\[0\]\.disks: would not be read back from Placement"):
        codec.encode(DISKED)


def test_a_template_that_breaks_a_rule_is_not_written() -> None:
    """Also if it was made without from_mapping, which checks the rules."""
    template = PinningTemplate("gold", (TemplateCell(CpuSet.of([1]), CpuPolicy.DEDICATED),))
    with pytest.raises(InvalidTemplate, match="template 'gold' at cells: vCPU 0 is in no cell"):
        codec.encode(template)

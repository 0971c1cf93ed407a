# SPDX-License-Identifier: Apache-2.0
"""A template as traits and back: total in one direction, strict in the other.

Each clause that the template does not leave at its default is one trait or several, which forms/ writes and reads by
the kind of the value. What is here gives them their place: ``C<number>_`` for the clauses of a cell, ``H<number>_`` for
those of a period, the word of the clause that holds them for those of an inner object, as QOS_ for those of ``qos``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kongming_sched import exceptions
from kongming_sched.clauses.clause import Clause, Where, clauses_of, written
from kongming_sched.clauses.kinds import Part, Parts
from kongming_sched.placement import names
from kongming_sched.placement.forms.form import Found, invalid
from kongming_sched.placement.forms.table import form_of
from kongming_sched.template import Name, PinningTemplate
from kongming_sched.texts.whole_number import AMOUNTS, find_whole_number

PREFIX = "CUSTOM_KONGMING_"
_ITEM = re.compile(r"([CH])[0-9]{1,18}_.+")
"""The trait of a cell or a period: its letter and number, and the clause."""
_EMPTY = "NONE"
"""Stands for an inner object that says nothing, where that is not the default."""
_STEP = re.compile(r"([a-z_]+)(?:\[([^\]]+)\])?")
"""A part of the path of an error: a key, and an item of its value."""


def encode(template: PinningTemplate) -> frozenset[str]:
    """The traits of a template's provider, clause by clause, which :func:`decode` reads back.

    :raises InvalidTemplate: if the template breaks a rule, or if its traits would not be read as this very template,
        which is an error of the code; then nothing may be stored
    """
    traits = _traits(template)
    stored = type(template).from_mapping(_Decoder(template.name).mapping(type(template), traits))
    if stored != template:
        where = _difference(template, stored, Where(template.name))
        raise where.error("would not be read back from Placement as it is")
    return traits


def decode(name: str, traits: Iterable[str]) -> PinningTemplate:
    """The template that these traits of its provider are.

    :param name: the template's name, which stands in the provider's name
    :raises InvalidTraits: if they are not exactly one template, naming the clause that is wrong
    """
    given = frozenset(traits)
    mapping = _Decoder(name).mapping(PinningTemplate, given)
    try:
        template = PinningTemplate.from_mapping(mapping)
    except exceptions.InvalidTemplate as error:
        raise invalid(name, _trait_of_path(error.path), error.reason) from error
    expected = _traits(template)
    surplus, missing = sorted(given - expected), sorted(expected - given)
    if surplus and missing:
        raise invalid(name, surplus[0], f"is not in the one way of writing; expected {', '.join(missing)}")
    if surplus:
        raise invalid(name, surplus[0], "says again what another clause says")
    if missing:
        raise invalid(name, missing[0], "is missing")
    return template


def _traits(template: PinningTemplate) -> frozenset[str]:
    return frozenset({names.TEMPLATE, *_written(template, PREFIX)})


def _written(owner: Any, prefix: str) -> Iterator[str]:
    """The traits of an object's clauses."""
    for clause, value in written(owner):
        if isinstance(clause.kind, Parts):
            for index, item in enumerate(value):
                yield from _written(item, f"{prefix}{clause.kind.letter}{index}_")
        elif isinstance(clause.kind, Part):
            inner = list(_written(value, f"{prefix}{clause.word}_"))
            yield from inner or [f"{prefix}{clause.word}_{_EMPTY}"]
        elif not isinstance(clause.kind, Name):
            yield from (f"{prefix}{clause.word}_{text}" for text in form_of(clause).write(clause, value, owner))


class _Decoder:
    """Turns traits into the mapping that PinningTemplate.from_mapping checks.

    :param name: the template's name
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def mapping(self, template: type[PinningTemplate], traits: frozenset[str]) -> dict[str, object]:
        """The mapping of a template.

        :raises InvalidTraits: naming the trait that is wrong
        """
        texts = {trait: trait.removeprefix(PREFIX) if trait.startswith(PREFIX) else "" for trait in sorted(traits)}
        found = [Found(self.name, trait, texts[trait], "a template") for trait in texts if trait != names.TEMPLATE]
        return {"name": self.name, **self.part(template, found)}

    def part(self, part: type, found: Sequence[Found]) -> dict[str, object]:
        """The mapping of an object by the traits of its clauses."""
        mapping: dict[str, object] = {}
        by_word = _by_word(part, found)
        for clause in clauses_of(part):
            mine = by_word.get(clause.word, [])
            if isinstance(clause.kind, Parts) and (mine or clause.is_required):
                mapping[clause.name] = self.items(clause.kind, mine)
            elif mine and isinstance(clause.kind, Part):
                is_empty = [one.text for one in mine] == [_EMPTY]
                mapping[clause.name] = {} if is_empty else self.part(clause.kind.part, mine)
            elif mine:
                mapping[clause.name] = form_of(clause).read(clause, mine)
        return mapping

    def items(self, kind: Parts[Any], found: Sequence[Found]) -> list[dict[str, object]]:
        """The mappings of cells or periods, which are numbered from 0 without a gap."""
        by_number: dict[int, list[Found]] = {}
        place = f"a template's {kind.noun}"
        for one in found:
            digits, _, text = one.text[1:].partition("_")
            number = find_whole_number(digits, AMOUNTS)
            if number is None:
                raise invalid(self.name, one.trait, f"has a number that is none of {place}")
            by_number.setdefault(number, []).append(Found(one.template, one.trait, text, place))
        items = {number: self.part(kind.part, mine) for number, mine in by_number.items()}
        for number in range(max(items, default=0) + 1):
            if number not in items:
                reason = f"is missing although a later {kind.noun} is there" if items else "is missing"
                raise invalid(self.name, _first_of_item(kind, str(number)), reason)
        return [items[number] for number in sorted(items)]


@functools.cache
def _pattern(part: type) -> re.Pattern[str]:
    """The text of a clause of an object: its word and what follows. The longest word that fits comes first."""
    words = sorted((clause.word for clause in clauses_of(part) if _has_word(clause)), key=len, reverse=True)
    return re.compile(rf"({'|'.join(words)})(?:_(.*))?")


def _has_word(clause: Clause) -> bool:
    """Whether traits begin with the clause's word: not for the name, and for cells it is their number."""
    return not isinstance(clause.kind, Name | Parts)


def _by_word(part: type, found: Iterable[Found]) -> dict[str, list[Found]]:
    """The traits by the words of an object's clauses, with what follows the word; those of cells as they are.

    :raises InvalidTraits: if a trait is of no clause
    """
    mine: dict[str, list[Found]] = {}
    items = {clause.kind.letter: clause.word for clause in clauses_of(part) if isinstance(clause.kind, Parts)}
    for one in found:
        if (item := _ITEM.fullmatch(one.text)) and item[1] in items:
            mine.setdefault(items[item[1]], []).append(one)
        elif match := _pattern(part).fullmatch(one.text):
            mine.setdefault(match[1], []).append(Found(one.template, one.trait, match[2] or "", one.place))
        else:
            raise one.unknown()
    return mine


def _first_of_item(kind: Parts[Any], number: str) -> str:
    """The trait that a cell or a period must have; ``*`` stands for any number."""
    return f"{PREFIX}{kind.letter}{number}_{clauses_of(kind.part)[0].word}"


def _trait_of_path(path: str) -> str:
    """The traits that a value of the mapping comes from: ``cells[0].pins[1]`` is C0_PIN_1, ``cells`` is C*_VCPUS."""
    trait, part = PREFIX, PinningTemplate
    for key, item in _STEP.findall(path):
        (clause,) = (clause for clause in clauses_of(part) if clause.name == key)
        if isinstance(clause.kind, Parts) and not item:
            return _first_of_item(clause.kind, "*")
        if isinstance(clause.kind, Parts):
            trait, part = f"{trait}{clause.kind.letter}{item}_", clause.kind.part
        elif isinstance(clause.kind, Part):
            trait, part = f"{trait}{clause.word}_", clause.kind.part
        elif isinstance(clause.kind, Name):
            return trait + clause.word
        else:
            return trait + form_of(clause).at(clause, item or None)
    return trait


def _difference(one: Any, other: Any, where: Where) -> Where:
    """The place of the first value in which two objects of a class are not alike."""
    for clause in clauses_of(type(one)):
        mine, its = getattr(one, clause.attribute), getattr(other, clause.attribute)
        at = where.key(clause.name)
        if mine == its:
            continue
        if isinstance(clause.kind, Part) and type(mine) is type(its):
            return _difference(mine, its, at)
        if isinstance(clause.kind, Parts) and len(mine) == len(its):
            index = next(index for index in range(len(mine)) if mine[index] != its[index])
            return _difference(mine[index], its[index], at.item(index))
        return at
    return where

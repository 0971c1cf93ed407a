# SPDX-License-Identifier: Apache-2.0
"""The table of the clauses of a class: in English from the code, in another language with sentences of the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from kongming_sched.clauses.clause import Clause, clauses_of


class Incomplete(Exception):
    """A page does not have the sentences that the table needs."""


def sentences(lines: Iterable[str]) -> dict[str, str]:
    """The sentences of a page, one in each line: ``vcpus: The vCPUs of the cell.``"""
    pairs = (line.partition(":") for line in lines if line.strip())
    return {name.strip(): text.strip() for name, _, text in pairs}


def rows(part: type, translated: Mapping[str, str] | None, required: str) -> Iterator[tuple[str, str, str, str]]:
    """The name of each clause, how it is written, its default, and what it means.

    :param translated: the sentences of the page by the clauses' names; None for those of the code
    :param required: the word for a clause that every file must have
    :raises Incomplete: if the page lacks the sentence of a clause, or has one too many
    """
    clauses = clauses_of(part)
    if translated is not None:
        names = {clause.name for clause in clauses}
        complaints = [f"lacks the sentence of {name!r}" for name in sorted(names - translated.keys())]
        complaints += [f"has a sentence of {name!r}, which is no clause" for name in sorted(translated.keys() - names)]
        if complaints:
            raise Incomplete(f"the table of {part.__name__} {'; '.join(complaints)}")
    for clause in clauses:
        meaning = clause.meaning if translated is None else translated[clause.name]
        yield f"``{clause.name}``", clause.kind.notation, _default(clause, required), meaning


def _default(clause: Clause, required: str) -> str:
    """The default if it is a word; other clauses are just not there."""
    if clause.is_required or (clause.only and clause.only.required):
        return required
    return f"``{clause.default}``" if isinstance(clause.default, Enum) else ""

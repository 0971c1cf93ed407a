# SPDX-License-Identifier: Apache-2.0
"""Templates as the rows of a table and the fields of one thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kongming_sched.clauses.clause import clauses_of
from kongming_sched.cli import columns
from kongming_sched.cloud.nodes import Node
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.template import PinningTemplate

SHORT = ("name", "version", "vcpus", "cells", "hosts")
LONG = ("name", "version", "vcpus", *(clause.name for clause in clauses_of(PinningTemplate)[1:]), "aggregates", "hosts")


def fields_of(stored: StoredTemplate) -> dict[str, Any]:
    """A template by columns; those of a template's file have the file's names and values."""
    clauses = clauses_of(type(stored.template))[1:]  # the name comes first
    return {
        "name": stored.template.name,
        "version": stored.version,
        "vcpus": stored.template.vcpus,
        **{clause.name: columns.of_clause(clause, stored.template) for clause in clauses},
        "aggregates": columns.Names(sorted(stored.aggregates)),
    }


def rows_of(templates: Iterable[StoredTemplate], shown: Sequence[str], nodes: Sequence[Node]) -> list[list[Any]]:
    """A row for each template.

    :param shown: the columns
    :param nodes: of all hosts
    """
    rows = []
    for stored in templates:
        fields = fields_of(stored) | {"hosts": len(offering(stored.template.name, nodes))}
        rows.append([fields[column] for column in shown])
    return rows


def offering(template: str, nodes: Iterable[Node]) -> set[str]:
    """The hosts on whose nodes a template is offered."""
    return {node.host for node in nodes if template in node.templates}

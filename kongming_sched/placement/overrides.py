# SPDX-License-Identifier: Apache-2.0
"""Whether a server can use another template than its flavor's without another claim. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from kongming_sched import exceptions
from kongming_sched.override import ServerOverride, overriding_template
from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import CpuPolicy, PinningTemplate


def check_same_claim(own: PinningTemplate, other: PinningTemplate, threads_per_core: int | None) -> None:
    """Refuse a template that takes other resources than a server has claimed by its own template.

    :param threads_per_core: of the nodes that the server is on; None, if not known, counts as one
    :raises InvalidOverride: naming the first cell that differs
    """
    if own.name == other.name:
        return
    pairs = zip(
        cell_requests(own, 0, threads_per_core or 1), cell_requests(other, 0, threads_per_core or 1), strict=True
    )
    for index, (mine, its) in enumerate(pairs):
        if mine.resources == its.resources:
            continue
        if CpuPolicy.EXPLICIT in (own.cells[index].cpus, other.cells[index].cpus):
            reason = (
                "explicit CPUs belong to the server that has claimed the template's slot; resize the server instead"
            )
        else:
            takes, claimed = names.describe_amounts(its.resources), names.describe_amounts(mine.resources)
            reason = f"it takes {takes}, and the server has claimed {claimed}"
        raise exceptions.InvalidOverride(TEMPLATE_KEY, f"template {other.name!r}, cell {index}: {reason}")


def choices_of_qos(
    templates: Iterable[PinningTemplate], others: Collection[PinningTemplate]
) -> list[tuple[PinningTemplate, PinningTemplate]]:
    """The pairs of templates of which servers may choose either by their own metadata, and that differ in QoS or hours.

    For the operator, who may not have meant that: a server of a template with a quota may choose the one without.

    :param others: with which each of the templates is paired; may hold them too
    :returns: each pair once, ordered by the names
    """
    found: dict[tuple[str, str], tuple[PinningTemplate, PinningTemplate]] = {}
    for template in templates:
        for other in others:
            is_alike = (other.qos, other.hours) == (template.qos, template.hours)
            if other.name != template.name and not is_alike and _may_choose(template, other):
                first, second = (template, other) if template.name < other.name else (other, template)
                found[first.name, second.name] = first, second
    return [found[pair] for pair in sorted(found)]


def _may_choose(own: PinningTemplate, other: PinningTemplate) -> bool:
    """Whether a server may have another template instead of its own, on hosts of one or of two threads per core."""
    try:
        overriding_template(own, ServerOverride(other.name), {other.name: other})
    except exceptions.InvalidOverride:
        return False
    for threads in (1, 2):
        try:
            check_same_claim(own, other, threads)
        except exceptions.InvalidOverride:
            continue
        return True
    return False

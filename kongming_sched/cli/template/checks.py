# SPDX-License-Identifier: Apache-2.0
"""Checks of a new, changed or deleted template against other templates and against its users."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from kongming_sched import exceptions
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.cloud.users import already_asks_for, describe, has_same_demand, users_of
from kongming_sched.placement.classes.records import REMEDY, describe_users
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.overrides import choices_of_qos
from kongming_sched.placement.templates import StoredTemplate
from kongming_sched.template import PinningTemplate


def overlaps(
    template: PinningTemplate, aggregates: frozenset[str], stored: Mapping[str, StoredTemplate]
) -> Iterator[exceptions.InvalidTemplate]:
    """Explicit host CPUs that another template has on hosts that are offered both.

    A host would offer only the one that came first.

    :param aggregates: those of the new template; none means all hosts
    :returns: errors that name the cell, the CPUs and the other template
    """
    for other in stored.values():
        apart = aggregates and other.aggregates and aggregates.isdisjoint(other.aggregates)
        if other.template.name == template.name or apart:
            continue
        for index, cell in enumerate(template.cells):
            if twice := cell.host_cpus & other.template.host_cpus:
                yield exceptions.InvalidTemplate(
                    template.name,
                    f"cells[{index}].pins",
                    f"host CPU {twice} belongs to template {other.template.name!r}, which is offered to the same hosts;"
                    " take other CPUs, or aggregates that keep the two apart",
                )


def choices(templates: Iterable[PinningTemplate], others: Iterable[PinningTemplate]) -> Iterator[str]:
    """What the operator may not have meant by ``override: allowed``: a warning for each pair of templates.

    :param others: those that are stored
    """
    templates = list(templates)
    everything = {template.name: template for template in (*others, *templates)}
    for first, second in choices_of_qos(templates, list(everything.values())):
        yield (
            f"servers of templates {first.name!r} and {second.name!r} may choose the other one by their own metadata,"
            " with its qos, for both have 'override: allowed'; 'override: pins' lets them choose CPUs alone"
        )


def uses(compute: ComputeClient, templates: Collection[str]) -> Iterator[exceptions.TemplateInUse]:
    """An error for each of these templates that has users, and so cannot be deleted.

    :raises ComputeError: if Nova does not say who uses them
    """
    try:
        users = users_of(compute, templates)
    except exceptions.ComputeError as error:
        raise exceptions.ComputeError(error.action, f"{error.reason}; --force deletes without asking") from error
    for template in templates:
        if mine := [user for user in users if user.template == template]:
            yield exceptions.TemplateInUse(
                template,
                describe(mine),
                "take it off flavors with 'openstack kongming flavor unset FLAVOR', and resize or delete servers",
            )


def other_demands(
    compute: ComputeClient, placement: PlacementClient, old: PinningTemplate | None, new: PinningTemplate
) -> Iterator[exceptions.TemplateInUse]:
    """An error if users of a template ask for other resources than it is to take: a server's claim does not change.

    :param old: None if what is stored cannot be read
    :raises ComputeError: if Nova does not say who uses it
    """
    if old is not None and has_same_demand(old, new):
        return
    if users := describe_users(placement, new.name):
        yield exceptions.TemplateInUse(new.name, users, REMEDY)
    others = [user for user in users_of(compute, {new.name}) if not already_asks_for(user.flavor, new)]
    if others:
        yield exceptions.TemplateInUse(
            new.name,
            describe(others),
            "by the new cells they would take other resources than they ask for or have been given;"
            " store them as a template of another name",
        )

# SPDX-License-Identifier: Apache-2.0
"""TemplateStore on the real Placement: what is stored, what is refused, and what survives a failure at any request."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings

from kongming_sched.exceptions import (
    InvalidTraits,
    PlacementConflict,
    PlacementUnavailable,
    TemplateExists,
    TemplateNotFound,
)
from kongming_sched.placement import codec, names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import StoredTemplate, TemplateStore
from kongming_sched.placement.transport import Adapter
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting, Failing, Failure, Meddling
from tests.functional.conftest import PlacementService
from tests.unit.strategies import large_templates, templates

AGGREGATES = frozenset({"a9900000-0000-4000-8000-000000000001", "a9900000-0000-4000-8000-000000000002"})
ONE_AGGREGATE = frozenset({"a9900000-0000-4000-8000-000000000001"})


def make(name: str, vcpus: str = "0-3", **cell: object) -> PinningTemplate:
    """A template of one cell, dedicated by default."""
    return PinningTemplate.from_mapping({"name": name, "cells": [{"vcpus": vcpus, "cpus": "dedicated", **cell}]})


GOLD = make("gold", threads="isolate")
WIDER_GOLD = make("gold", "0-7")
PINNED = make("pinned", "0-1", cpus="explicit", pins={0: "2", 1: "3"})


def store(adapter: Adapter) -> TemplateStore:
    """A store that has seen nothing yet."""
    return TemplateStore(PlacementClient(adapter))


def test_a_template_is_listed_and_read_as_it_was_created(placement: PlacementService) -> None:
    """By a store of another process."""
    created = store(placement.adapter).create(GOLD, AGGREGATES)
    assert (GOLD, AGGREGATES) == (created.template, created.aggregates)
    assert created == store(placement.adapter).get("gold")
    assert {"gold": created} == store(placement.adapter).list().templates


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(templates() | large_templates())
def test_placement_keeps_every_template_exactly(placement: PlacementService, template: PinningTemplate) -> None:
    """The codec's traits are Placement's, and what comes back is the same template."""
    templates = store(placement.adapter)
    created = templates.create(template)
    assert template == store(placement.adapter).get(template.name).template
    assert codec.encode(template) == placement.client.traits(names.template_uuid(template.name))
    assert created == templates.list().templates.pop(template.name)
    templates.delete(template.name)
    assert {} == templates.list().templates


def test_a_template_brings_the_words_that_flavors_and_hosts_need(placement: PlacementService) -> None:
    """A flavor may name its trait and its slot before any host offers it; nova-scheduler gets no 400 then."""
    store(placement.adapter).create(PINNED)
    trait, slot = names.template_trait("pinned"), names.slot_class("pinned")
    query = {"resources": f"{slot}:1", "required": trait}
    answer = placement.adapter.get(
        "/allocation_candidates", params=query, headers={"OpenStack-API-Version": "placement 1.36"}
    )
    assert (200, []) == (answer.status_code, answer.json()["allocation_requests"])


def test_a_template_provider_is_offered_nothing(placement: PlacementService) -> None:
    """It has no inventory, so that no server can land on it."""
    store(placement.adapter).create(PINNED)
    assert {} == placement.client.inventories(names.template_uuid("pinned"))


@pytest.mark.parametrize("other", [GOLD, WIDER_GOLD], ids=["the same", "another"])
def test_a_taken_name_is_refused(placement: PlacementService, other: PinningTemplate) -> None:
    """And what is there stays as it is."""
    created = store(placement.adapter).create(GOLD, ONE_AGGREGATE)
    with pytest.raises(TemplateExists, match="'gold' exists already"):
        store(placement.adapter).create(other, AGGREGATES)
    assert created == store(placement.adapter).get("gold")


def test_a_name_taken_at_the_last_moment_is_refused(placement: PlacementService) -> None:
    """Two operators create the same name at the same time: one of them gets it."""

    def meddle(method: str, url: str) -> None:
        if (method, url) == ("POST", "/resource_providers"):
            store(placement.adapter).create(WIDER_GOLD)

    with pytest.raises(TemplateExists):
        store(Meddling(placement.adapter, meddle)).create(GOLD)
    assert WIDER_GOLD == store(placement.adapter).get("gold").template


def test_two_who_take_up_the_same_half_do_not_mix(placement: PlacementService) -> None:
    """The one whose write comes second finds the name taken."""
    placement.client.create_provider(names.template_uuid("gold"), names.template_provider_name("gold"))
    done: list[str] = []

    def meddle(method: str, url: str) -> None:
        if method == "PUT" and url.startswith("/resource_providers") and not done:
            done.append(url)
            store(placement.adapter).create(WIDER_GOLD)

    with pytest.raises(TemplateExists):
        store(Meddling(placement.adapter, meddle)).create(GOLD)
    assert WIDER_GOLD == store(placement.adapter).get("gold").template


def test_an_update_replaces_the_template_and_keeps_its_aggregates(placement: PlacementService) -> None:
    """Its version grows, by which everybody sees that it is another."""
    templates = store(placement.adapter)
    created = templates.create(GOLD, ONE_AGGREGATE)
    updated = templates.update(WIDER_GOLD)
    assert (WIDER_GOLD, ONE_AGGREGATE) == (updated.template, updated.aggregates)
    assert created.version < updated.version
    assert updated == store(placement.adapter).get("gold") == templates.list().templates["gold"]


@pytest.mark.parametrize("wanted", [frozenset(), ONE_AGGREGATE, AGGREGATES], ids=["none", "one", "two"])
def test_an_update_may_replace_the_aggregates(placement: PlacementService, wanted: frozenset[str]) -> None:
    """None at all means every host."""
    store(placement.adapter).create(GOLD, ONE_AGGREGATE)
    updated = store(placement.adapter).update(GOLD, wanted)
    assert wanted == updated.aggregates == store(placement.adapter).get("gold").aggregates


def test_an_update_that_changes_nothing_keeps_the_version(placement: PlacementService) -> None:
    """So that no agent has to make a pass."""
    created = store(placement.adapter).create(GOLD, ONE_AGGREGATE)
    assert created == store(placement.adapter).update(GOLD)


@pytest.mark.parametrize("name", ["silver", "GOLD", "no such name", "x" * 300, ""])
def test_a_template_that_is_not_there_is_named(placement: PlacementService, name: str) -> None:
    """Also if it could not even be a name."""
    store(placement.adapter).create(GOLD)
    with pytest.raises(TemplateNotFound, match="no template is named"):
        store(placement.adapter).get(name)
    with pytest.raises(TemplateNotFound):
        store(placement.adapter).delete(name)
    assert ["gold"] == list(store(placement.adapter).list().templates)


def test_what_is_not_there_cannot_be_updated(placement: PlacementService) -> None:
    """An update creates nothing."""
    with pytest.raises(TemplateNotFound):
        store(placement.adapter).update(GOLD)
    assert [] == placement.client.providers()


def test_a_deleted_template_is_gone(placement: PlacementService) -> None:
    """From a store that had seen it too, and its name is free."""
    templates = store(placement.adapter)
    templates.create(GOLD, AGGREGATES)
    assert ["gold"] == list(templates.list().templates)
    templates.delete("gold")
    assert {} == templates.list().templates
    assert frozenset() == templates.create(WIDER_GOLD).aggregates
    assert WIDER_GOLD == templates.list().templates["gold"].template


def test_a_template_deleted_by_somebody_else_first_is_not_found(placement: PlacementService) -> None:
    """Rather than an error about a provider."""
    store(placement.adapter).create(GOLD)

    def meddle(method: str, _: str) -> None:
        if method == "DELETE":
            placement.client.delete_provider(names.template_uuid("gold"))

    with pytest.raises(TemplateNotFound):
        store(Meddling(placement.adapter, meddle)).delete("gold")


def test_a_template_deleted_while_it_is_listed_is_left_out(placement: PlacementService) -> None:
    """Also if the store knew an older version of it; the others are listed."""
    deleted: list[str] = []

    def meddle(_: str, url: str) -> None:
        if armed and url.endswith(f"{names.template_uuid('gold')}/traits") and not deleted:
            deleted.append(url)
            placement.client.delete_provider(names.template_uuid("gold"))

    armed = False
    templates = store(Meddling(placement.adapter, meddle))
    for template in (GOLD, PINNED):
        templates.create(template)
    assert ["gold", "pinned"] == list(templates.list().templates)
    store(placement.adapter).update(WIDER_GOLD)
    armed = True
    assert ["pinned"] == list(templates.list().templates)
    assert deleted


def test_listing_costs_one_request_while_nothing_changes(placement: PlacementService) -> None:
    """Every host's agent lists on every round; only what has changed is read again."""
    for name in ("a", "b", "c"):
        store(placement.adapter).create(make(name))
    counting = Counting(placement.adapter)
    templates = store(counting)
    assert ["a", "b", "c"] == list(templates.list().templates)
    assert 1 + 2 * 3 == len(counting.requests)
    for _ in range(3):
        templates.list()
    assert 1 + 2 * 3 + 3 == len(counting.requests)
    store(placement.adapter).update(make("b", "0-7"))
    assert make("b", "0-7") == templates.list().templates["b"].template
    assert 1 + 2 * 3 + 3 + 3 == len(counting.requests)


def test_other_providers_are_no_templates(placement: PlacementService) -> None:
    """Compute nodes, and what was created by hand under a template's name and has no marker."""
    placement.add_host("compute1", "5a1e0000-0000-4000-8000-000000000001")
    placement.client.create_provider(names.template_uuid("half"), names.template_provider_name("half"))
    store(placement.adapter).create(GOLD)
    assert ["gold"] == list(store(placement.adapter).list().templates)
    assert () == store(placement.adapter).list().broken


def test_a_broken_template_is_told_and_the_others_go_on(placement: PlacementService) -> None:
    """Traits were changed by hand: the clause is named, and the template can be written anew."""
    for template in (GOLD, PINNED):
        store(placement.adapter).create(template)
    uuid = names.template_uuid("gold")
    generation = placement.client.providers(uuid=uuid)[0].generation
    placement.client.ensure_traits(["CUSTOM_KONGMING_EMULATOR_CELL"])
    placement.client.set_traits(uuid, generation, codec.encode(GOLD) | {"CUSTOM_KONGMING_EMULATOR_CELL"})
    listed = store(placement.adapter).list()
    assert ["pinned"] == list(listed.templates)
    assert [("gold", "CUSTOM_KONGMING_EMULATOR_SHARED")] == [(error.name, error.clause) for error in listed.broken]
    with pytest.raises(InvalidTraits, match="another clause, which says cell"):
        store(placement.adapter).get("gold")
    store(placement.adapter).update(GOLD)
    assert GOLD == store(placement.adapter).get("gold").template


def test_a_marker_on_a_foreign_provider_is_told(placement: PlacementService) -> None:
    """Not taken for a template, and not passed over in silence."""
    client = placement.client
    provider = client.create_provider("5a1e0000-0000-4000-8000-000000000001", "compute1")
    client.ensure_traits([names.TEMPLATE])
    client.set_traits(provider.uuid, provider.generation, [names.TEMPLATE])
    listed = store(placement.adapter).list()
    assert {} == listed.templates
    assert ["compute1"] == [error.name for error in listed.broken]


@pytest.mark.parametrize(
    ("aggregates", "host", "offered"),
    [
        (frozenset(), frozenset(), True),
        (frozenset(), ONE_AGGREGATE, True),
        (ONE_AGGREGATE, AGGREGATES, True),
        (AGGREGATES, ONE_AGGREGATE, True),
        (ONE_AGGREGATE, frozenset(), False),
        (ONE_AGGREGATE, AGGREGATES - ONE_AGGREGATE, False),
    ],
)
def test_aggregates_say_which_hosts_are_offered_a_template(
    aggregates: frozenset[str], host: frozenset[str], offered: bool
) -> None:
    """One in common is enough; a template without any is for all."""
    assert offered == StoredTemplate(GOLD, 1, aggregates).is_offered_to(host)


def test_an_update_is_tried_again_after_a_conflict(placement: PlacementService) -> None:
    """Another client changed the aggregates in between: its change and this one both hold."""
    store(placement.adapter).create(GOLD)
    uuid = names.template_uuid("gold")
    done: list[str] = []

    def meddle(method: str, url: str) -> None:
        if (method, url) == ("PUT", f"/resource_providers/{uuid}/traits") and not done:
            done.append(url)
            generation = placement.client.providers(uuid=uuid)[0].generation
            placement.client.set_aggregates(uuid, generation, ONE_AGGREGATE)

    store(Meddling(placement.adapter, meddle)).update(WIDER_GOLD)
    expected = (WIDER_GOLD, ONE_AGGREGATE)
    stored = store(placement.adapter).get("gold")
    assert expected == (stored.template, stored.aggregates)


def test_conflicts_without_end_are_given_up(placement: PlacementService) -> None:
    """With the conflict as the error, and the template as it was."""
    store(placement.adapter).create(GOLD)
    uuid = names.template_uuid("gold")
    flip = itertools.cycle([ONE_AGGREGATE, frozenset()])

    def meddle(method: str, url: str) -> None:
        if (method, url) == ("PUT", f"/resource_providers/{uuid}/traits"):
            generation = placement.client.providers(uuid=uuid)[0].generation
            placement.client.set_aggregates(uuid, generation, next(flip))

    with pytest.raises(PlacementConflict):
        store(Meddling(placement.adapter, meddle)).update(WIDER_GOLD)
    assert GOLD == store(placement.adapter).get("gold").template


def pinned(number: int) -> PinningTemplate:
    """A template of which Placement has not seen the name, the slot and one of the clauses."""
    return make(f"pinned{number}", "0-1", cpus="explicit", pins={0: str(2 * number), 1: str(2 * number + 1)})


@pytest.mark.parametrize("failure", Failure)
def test_a_creation_that_failed_anywhere_is_repaired_by_doing_it_again(
    placement: PlacementService, failure: Failure
) -> None:
    """Each request in turn fails; until the last one is done nobody sees a template, least of all half of one."""
    for failing in itertools.count():
        template = pinned(failing)
        adapter = Failing(placement.adapter, failing, failure)
        try:
            store(adapter).create(template, ONE_AGGREGATE)
        except PlacementUnavailable:
            listed = store(placement.adapter).list()
            assert () == listed.broken
            if template.name not in listed.templates:
                store(placement.adapter).create(template, ONE_AGGREGATE)
        stored = store(placement.adapter).get(template.name)
        assert (template, ONE_AGGREGATE) == (stored.template, stored.aggregates)
        if adapter.count <= failing:
            break
    assert failing >= 8  # find, create, list traits, create three, create a class, read and set aggregates, set traits


@pytest.mark.parametrize("failure", Failure)
def test_an_update_that_failed_anywhere_is_repaired_by_doing_it_again(
    placement: PlacementService, failure: Failure
) -> None:
    """Each request in turn fails; what is stored is the old template or the new one, never a mixture."""
    for failing in itertools.count():
        template = pinned(failing)
        old = make(template.name)
        store(placement.adapter).create(old)
        adapter = Failing(placement.adapter, failing, failure)
        try:
            store(adapter).update(template, ONE_AGGREGATE)
        except PlacementUnavailable:
            assert store(placement.adapter).get(template.name).template in (old, template)
            store(placement.adapter).update(template, ONE_AGGREGATE)
        stored = store(placement.adapter).get(template.name)
        assert (template, ONE_AGGREGATE) == (stored.template, stored.aggregates)
        if adapter.count <= failing:
            break
    assert failing >= 7

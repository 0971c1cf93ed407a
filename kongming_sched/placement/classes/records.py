# SPDX-License-Identifier: Apache-2.0
"""Which servers have another template than their flavor names, or one although it names none: their class.

A server's class is an allocation of a consumer of its own, whose id follows from the server's, on the class provider of
the template. Nova knows no such consumer and leaves it alone, whatever it does with the server; only those who may
write Placement can change it. ``POST /allocations`` writes it together with the claim of the server, both or neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.client import Claim, Inventory, PlacementClient, Provider
from kongming_sched.placement.conflict import retry_on_conflict
from kongming_sched.texts.counted import count

_MOST = 2**31 - 1
"""The largest amount of one allocation."""
_RATIO = 1_000_000.0
"""So that a million servers of the largest amount have room."""
_PROJECT = "kongming"
"""The project of the records, so that none of them is counted among what a server's project uses."""
_READ_AGAIN = 20
"""After how many passes a provider is read again that has not changed: who deletes an allocation by hand, with DELETE,
raises no generation."""

REMEDY = "give them that back with 'openstack kongming server unset SERVER --template'"
"""For a template that servers have instead of their flavor's."""


@dataclass(frozen=True, slots=True)
class ServerClass:
    """The template that a server has instead of its flavor's.

    :ivar flavor_mark: of the flavor that the server had when it got the class, which ends when it gets another one
    :ivar request_mark: of the request id of the command that gave it; 0 if that is not known
    """

    template: str
    flavor_mark: int
    request_mark: int = field(default=0, compare=False)


def flavor_mark(name: str, vcpus: int, memory_mb: int, template: str | None) -> int:
    """A number from 1 to 2**31 - 1 that stands for a flavor as a server keeps it.

    :param template: that the flavor names; None if it names none
    """
    text = "\n".join((name, str(vcpus), str(memory_mb), template or ""))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % _MOST + 1


class ClassReader:
    """Reads the classes of all servers: one request for each class provider that has changed since."""

    def __init__(self, client: PlacementClient) -> None:
        self._client = client
        self._seen: dict[str, tuple[int, int, dict[str, ServerClass]]] = {}

    def read(self, providers: Iterable[Provider]) -> dict[str, ServerClass]:
        """The class of each server that has one, by the consumer that records it.

        :param providers: the class providers, as the list of all templates has them
        """
        seen = {}
        for provider in providers:
            template = names.class_of_provider(provider.name)
            if template is None:
                continue
            generation, age, records = self._seen.get(provider.uuid, (-1, 0, {}))
            if generation != provider.generation or age >= _READ_AGAIN:
                age = 0
                records = {
                    consumer: _class_of(template, resources)
                    for consumer, resources in self._client.allocations(provider.uuid).items()
                    if names.SERVER_CLASS in resources
                }
            seen[provider.uuid] = provider.generation, age + 1, records
        self._seen = seen
        return {consumer: found for _, _, records in seen.values() for consumer, found in records.items()}


def read_record(client: PlacementClient, server: str) -> Claim | None:
    """The allocation that records the class of a server; None if it has no class."""
    return client.claim(names.class_consumer(server))


def class_of_record(record: Claim | None, templates: Iterable[str]) -> ServerClass | None:
    """The class that a record stands for; None if there is none.

    :param templates: the names of the templates that there are
    """
    by_provider = {names.class_uuid(template): template for template in templates}
    for provider, resources in record.resources.items() if record else ():
        if provider in by_provider and names.SERVER_CLASS in resources:
            return _class_of(by_provider[provider], resources)
    return None


def _class_of(template: str, resources: Mapping[str, int]) -> ServerClass:
    return ServerClass(template, resources[names.SERVER_CLASS], resources.get(names.CLASS_REQUEST, 0))


def record_of(server: str, server_class: ServerClass | None, before: Claim | None) -> Claim | None:
    """The record of a server's class as it is to be written; None if there is nothing to write.

    :param server_class: None for a server that is to have its flavor's template
    :param before: the record as it is
    """
    if server_class is None and before is None:
        return None
    resources: Mapping[str, Mapping[str, int]] = {}
    if server_class is not None:
        amounts = {names.SERVER_CLASS: server_class.flavor_mark, names.CLASS_REQUEST: server_class.request_mark}
        resources = {names.class_uuid(server_class.template): {name: mark for name, mark in amounts.items() if mark}}
    generation = before.generation if before else None
    return Claim(names.class_consumer(server), generation, _PROJECT, server, resources)


@retry_on_conflict
def ensure_class_provider(client: PlacementClient, template: str) -> None:
    """Make sure that servers can be recorded as those of a template.

    The trait that makes the provider visible comes last, so that an interrupted call is completed by the next one.
    """
    provider = _find_or_create(client, template)
    generation = provider.generation
    wanted = dict.fromkeys((names.SERVER_CLASS, names.CLASS_REQUEST), Inventory(_MOST, allocation_ratio=_RATIO))
    if client.inventories(provider.uuid) != wanted:
        client.ensure_resource_classes(wanted)
        generation = client.set_inventories(provider.uuid, generation, wanted)
    if names.TEMPLATE not in client.traits(provider.uuid):
        client.ensure_traits([names.TEMPLATE])
        client.set_traits(provider.uuid, generation, [names.TEMPLATE])


def _find_or_create(client: PlacementClient, template: str) -> Provider:
    name = names.class_provider_name(template)
    if found := client.providers(name=name):
        return found[0]
    try:
        return client.create_provider(names.class_uuid(template), name)
    except exceptions.PlacementError as error:
        found = client.providers(name=name) if error.status == 409 else []
        if not found:
            raise
        return found[0]  # another client has made it since


def delete_class_provider(client: PlacementClient, template: str) -> None:
    """Delete the class provider of a template, if there is one.

    :raises TemplateInUse: if a server is recorded there
    """
    for provider in client.providers(name=names.class_provider_name(template)):
        try:
            client.delete_provider(provider.uuid)
        except exceptions.ProviderNotFound:
            continue
        except exceptions.PlacementError as error:
            if error.status != 409:
                raise
            raise exceptions.TemplateInUse(template, describe_users(client, template), REMEDY) from error


def describe_users(client: PlacementClient, template: str) -> str:
    """How many servers have a template instead of their flavor's, in words; empty if none has."""
    found = client.providers(name=names.class_provider_name(template))
    number = sum(len(client.allocations(provider.uuid)) for provider in found)
    return f"{count(number, 'server')} instead of the flavor's template" if number else ""

# SPDX-License-Identifier: Apache-2.0
"""Which template each server has, by the records of classes and by its flavor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kongming_sched.cloud.compute import Server
from kongming_sched.placement import names
from kongming_sched.placement.classes import records as class_records
from kongming_sched.placement.classes.records import ServerClass, flavor_mark
from kongming_sched.placement.client import Claim, PlacementClient
from kongming_sched.request import TEMPLATE_KEY


def mark_of(server: Server) -> int:
    """The mark of the flavor that a server has."""
    flavor = server.flavor
    return flavor_mark(flavor.name, flavor.vcpus, flavor.memory_mb, flavor.extra_specs.get(TEMPLATE_KEY))


def read_classes(client: PlacementClient) -> dict[str, ServerClass]:
    """The class of each server that has one, by the consumer that records it.

    This costs a request, and one for each template that servers have instead of their flavor's.
    """
    return class_records.ClassReader(client).read(client.template_providers())


def template_of(server: Server, classes: Mapping[str, ServerClass]) -> str | None:
    """The template that a server has now: that of its class, or else of its flavor; None if it has none."""
    found = classes.get(names.class_consumer(server.id))
    if found is not None and found.flavor_mark == mark_of(server):
        return found.template
    return server.flavor.extra_specs.get(TEMPLATE_KEY)


def find_leftovers(
    client: PlacementClient, classes: Mapping[str, ServerClass], servers: Iterable[Server], most: int = 5
) -> tuple[list[str], int]:
    """The servers whose class is recorded and does not hold, for Nova lists none of this id, or one of another flavor.

    :param servers: all that Nova lists
    :param most: how many are read
    :returns: the ids of the first ones, and the number of all
    """
    held = {names.class_consumer(server.id): mark_of(server) for server in servers}
    left = sorted(consumer for consumer, found in classes.items() if held.get(consumer) != found.flavor_mark)
    records = (client.claim(consumer) for consumer in left[:most])
    return [record.user_id for record in records if record is not None], len(left)


def forget_class(client: PlacementClient, server_id: str) -> None:
    """Delete the record of the class of a server that is gone."""
    if record := class_records.record_of(server_id, None, class_records.read_record(client, server_id)):
        client.replace_claims([record])


def read_template(client: PlacementClient, server: Server) -> str | None:
    """As :func:`template_of`, of one server."""
    found = read_class(client, class_records.read_record(client, server.id))
    return template_of(server, {names.class_consumer(server.id): found} if found else {})


def read_class(client: PlacementClient, record: Claim | None) -> ServerClass | None:
    """The class that a record stands for."""
    if record is None:
        return None
    templates = (names.class_of_provider(provider.name) for provider in client.template_providers())
    return class_records.class_of_record(record, filter(None, templates))

# SPDX-License-Identifier: Apache-2.0
"""Placement's API as far as KongMing uses it, with typed arguments and results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.quantities import amount, amounts, ratio, text, texts
from kongming_sched.placement.summaries import ProviderSummary, condense, read_summaries
from kongming_sched.placement.transport import Adapter, Transport

_QUERY_CHARACTERS = 2000
"""A longer query is sent in parts: web servers refuse URLs of more than 4096 bytes (uWSGI) or 8190 bytes."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A resource provider as Placement lists it."""

    uuid: str
    name: str
    generation: int
    root_uuid: str
    parent_uuid: str | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """How much of a resource class a provider has, in the class's own unit."""

    total: int
    reserved: int = 0
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """How much can be allocated in total."""
        return int((self.total - self.reserved) * self.allocation_ratio)


@dataclass(frozen=True, slots=True)
class Claim:
    """All allocations of a consumer, on every provider.

    :ivar generation: of the consumer; Placement refuses a write with an older one. None for a consumer that is new
    :ivar resources: provider to resource class to amount
    """

    consumer: str
    generation: int | None
    project_id: str
    user_id: str
    resources: Mapping[str, Mapping[str, int]]

    def as_json(self) -> dict[str, object]:
        """As it is written, at microversions below 1.38, where the consumer keeps its type."""
        return {
            "allocations": {uuid: {"resources": dict(resources)} for uuid, resources in self.resources.items()},
            "consumer_generation": self.generation,
            "project_id": self.project_id,
            "user_id": self.user_id,
        }


class PlacementClient:
    """A client of Placement.

    :ivar transport: sends the requests
    :ivar request_id: the global request id that they carry, by which Placement logs them; empty for none
    :raises PlacementConflict: from every write whose generation is no longer the provider's
    :raises PlacementUnavailable: from every call that got no answer or a server error
    :raises PlacementError: from every call that Placement refused
    """

    def __init__(self, adapter: Adapter, request_id: str = "") -> None:
        self.transport = Transport(adapter, request_id)
        self.request_id = request_id

    # Reading

    def providers(self, **query: str) -> list[Provider]:
        """Providers by Placement's own query parameters: name, in_tree, required, member_of, uuid."""
        return self.transport.get(
            "/resource_providers",
            f"list providers ({_words(query)})",
            lambda body: [_provider(item) for item in body["resource_providers"]],
            params=query,
        )

    def template_providers(self) -> list[Provider]:
        """Every template provider and every class provider, in one request."""
        try:
            return self.providers(required=names.TEMPLATE)
        except exceptions.PlacementError as error:
            if error.status == 400:  # the trait does not exist yet, so there is no template
                return []
            raise

    def node_summaries(self) -> list[ProviderSummary]:
        """Every node provider of the cloud with its capacity and use, in one request.

        Placement has no bulk read of inventories; the summaries that come with allocation candidates serve as one.
        Retired nodes are not among them.
        """
        summaries = self._summaries(lambda item: names.NODE in item["resources"])
        return [summary for summary in summaries if summary.capacity[names.NODE]]

    def host_summaries(self) -> list[ProviderSummary]:
        """Every provider of each host that has node providers, the compute node itself included, in one request."""
        return self._summaries(lambda _: True)

    def summaries(self, resource_class: str) -> list[ProviderSummary]:
        """Every provider that has something of a class to give, in one request."""
        what = f"summarise the providers of {resource_class}"
        return self._summaries(lambda item: resource_class in item["resources"], resource_class, what)

    def _summaries(
        self,
        is_wanted: Callable[[Mapping[str, Any]], bool],
        resource_class: str = names.NODE,
        what: str = "summarise the node providers",
    ) -> list[ProviderSummary]:
        try:
            return self.transport.get(
                "/allocation_candidates",
                what,
                read_summaries,
                condense(is_wanted),
                params={"resources": f"{resource_class}:1"},
            )
        except exceptions.PlacementError as error:
            if error.status == 400:  # the resource class does not exist yet, so there is no such provider
                return []
            raise

    def traits(self, uuid: str) -> frozenset[str]:
        """The traits of a provider."""
        url = f"/resource_providers/{uuid}/traits"
        return self.transport.get(url, f"read the traits of {uuid}", lambda body: texts(body["traits"]))

    def aggregates(self, uuid: str) -> frozenset[str]:
        """The aggregates of a provider."""
        url = f"/resource_providers/{uuid}/aggregates"
        return self.transport.get(url, f"read the aggregates of {uuid}", lambda body: texts(body["aggregates"]))

    def inventories(self, uuid: str) -> dict[str, Inventory]:
        """The inventories of a provider by resource class."""
        return self.transport.get(
            f"/resource_providers/{uuid}/inventories",
            f"read the inventories of {uuid}",
            lambda body: {
                name: Inventory(amount(item["total"]), amount(item["reserved"]), ratio(item["allocation_ratio"]))
                for name, item in body["inventories"].items()
            },
        )

    def allocations(self, uuid: str) -> dict[str, dict[str, int]]:
        """The allocations on a provider: consumer to resource class to amount."""
        return self.transport.get(
            f"/resource_providers/{uuid}/allocations",
            f"read the allocations of {uuid}",
            lambda body: {consumer: amounts(item["resources"]) for consumer, item in body["allocations"].items()},
        )

    def claim(self, consumer: str) -> Claim | None:
        """All allocations of a consumer; None if it has none."""

        def read(body: Any) -> Claim | None:
            if not body["allocations"]:
                return None
            resources = {uuid: amounts(item["resources"]) for uuid, item in body["allocations"].items()}
            generation, project_id, user_id = (body[key] for key in ("consumer_generation", "project_id", "user_id"))
            return Claim(consumer, amount(generation), text(project_id), text(user_id), resources)

        return self.transport.get(f"/allocations/{consumer}", f"read the claim of {consumer}", read)

    # Writing

    def replace_claim(self, claim: Claim) -> None:
        """Replace all allocations of a consumer, in one request.

        :raises PlacementConflict: if the consumer or a provider has changed meanwhile
        :raises PlacementError: with status 409 if a provider has no room; then nothing has changed
        """
        name = claim.consumer
        self.transport.send("PUT", f"/allocations/{name}", f"move the claim of {name}", json=claim.as_json())

    def replace_claims(self, claims: Iterable[Claim]) -> None:
        """Replace the claims of several consumers, all or none; one without resources deletes its consumer."""
        bodies = {claim.consumer: claim.as_json() for claim in claims}
        self.transport.send("POST", "/allocations", f"write the claims of {', '.join(sorted(bodies))}", json=bodies)

    def ensure_traits(self, traits: Iterable[str]) -> None:
        """Make sure that these custom traits exist."""
        wanted = sorted(trait for trait in set(traits) if trait.startswith("CUSTOM_"))
        known: set[str] = set()
        for some in _in_parts(wanted):
            query = {"name": f"in:{','.join(some)}"}
            known |= self.transport.get("/traits", "list traits", lambda body: texts(body["traits"]), params=query)
        for trait in wanted:
            if trait not in known:
                self.transport.send("PUT", f"/traits/{trait}", f"create trait {trait}")

    def forget_trait(self, trait: str) -> None:
        """Delete a custom trait, unless a provider still has it."""
        try:
            self.transport.send("DELETE", f"/traits/{trait}", f"delete trait {trait}")
        except exceptions.PlacementError as error:
            if error.status not in (404, 409):
                raise

    def ensure_resource_classes(self, classes: Iterable[str]) -> None:
        """Make sure that these custom resource classes exist."""
        for name in sorted(classes):
            self.transport.send("PUT", f"/resource_classes/{name}", f"create resource class {name}")

    def create_provider(self, uuid: str, name: str, parent_uuid: str | None = None) -> Provider:
        """Create a provider.

        :raises PlacementError: with status 409 if the name or the id is taken
        """
        body = {"uuid": uuid, "name": name} | ({"parent_provider_uuid": parent_uuid} if parent_uuid else {})
        return self.transport.ask("POST", "/resource_providers", f"create provider {name}", _provider, json=body)

    def rename_provider(self, uuid: str, name: str) -> Provider:
        """Give a provider another name, and return it as it is then.

        :raises PlacementError: with status 409 if the name is taken
        """
        url = f"/resource_providers/{uuid}"
        return self.transport.ask("PUT", url, f"rename provider {uuid}", _provider, json={"name": name})

    def delete_provider(self, uuid: str) -> None:
        """Delete a provider with its traits and aggregates."""
        self.transport.send("DELETE", f"/resource_providers/{uuid}", f"delete provider {uuid}")

    def set_traits(self, uuid: str, generation: int, traits: Iterable[str]) -> int:
        """Replace the traits of a provider and return its new generation."""
        body = {"resource_provider_generation": generation, "traits": sorted(traits)}
        url = f"/resource_providers/{uuid}/traits"
        return self.transport.replace(url, f"set the traits of {uuid}", body)

    def set_aggregates(self, uuid: str, generation: int, aggregates: Iterable[str]) -> int:
        """Replace the aggregates of a provider and return its new generation."""
        body = {"resource_provider_generation": generation, "aggregates": sorted(aggregates)}
        url = f"/resource_providers/{uuid}/aggregates"
        return self.transport.replace(url, f"set the aggregates of {uuid}", body)

    def set_inventories(self, uuid: str, generation: int, inventories: Mapping[str, Inventory]) -> int:
        """Replace the inventories of a provider and return its new generation.

        :raises PlacementError: with status 409 if a class would be removed that has allocations
        """
        items = {
            name: {
                "total": inventory.total,
                "reserved": inventory.reserved,
                "allocation_ratio": inventory.allocation_ratio,
                "min_unit": 1,
                "max_unit": inventory.total,
                "step_size": 1,
            }
            for name, inventory in inventories.items()
        }
        body = {"resource_provider_generation": generation, "inventories": items}
        url = f"/resource_providers/{uuid}/inventories"
        return self.transport.replace(url, f"set the inventories of {uuid}", body)


def _in_parts(words: Iterable[str]) -> Iterator[list[str]]:
    """Split words into parts that are short enough for a URL, in which each comma takes three characters."""
    part: list[str] = []
    for word in words:
        if part and sum(len(other) + 3 for other in part) + len(word) > _QUERY_CHARACTERS:
            yield part
            part = []
        part.append(word)
    if part:
        yield part


def _words(query: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in query.items()) or "all"


def _provider(item: Mapping[str, Any]) -> Provider:
    parent = item["parent_provider_uuid"]
    return Provider(
        text(item["uuid"]),
        text(item["name"]),
        amount(item["generation"]),
        text(item["root_provider_uuid"]),
        None if parent is None else text(parent),
    )

# SPDX-License-Identifier: Apache-2.0
"""The only HTTP of KongMing: what it asks of Placement's API, over a keystoneauth adapter.

Over 300 lines because every request that KongMing makes of Placement is here, with the values that it gives and takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.quantities import amount, amounts, ratio
from kongming_sched.placement.summaries import ObjectHook, ProviderSummary, condense, read_summaries

MICROVERSION = "1.36"
"""Placement's release Train and later. Nova's scheduler asks for its candidates with the same."""

_CONFLICT = "placement.concurrent_update"

_QUERY_CHARACTERS = 2000
"""A longer list of names is asked for in parts: web servers refuse URLs of more than 4096 bytes (uWSGI) or 8190."""

_T = TypeVar("_T")


class Response(Protocol):
    """The part of ``requests.Response`` that the client reads."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    def json(self, **kwargs: Any) -> Any:
        """The body, parsed by :func:`json.loads` with these arguments."""
        ...


class Adapter(Protocol):
    """openstacksdk's placement proxy, or any keystoneauth adapter of the service."""

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Send a request to the service; ``url`` starts at its endpoint."""
        ...


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
        """What can be allocated in all."""
        return int((self.total - self.reserved) * self.allocation_ratio)


@dataclass(frozen=True, slots=True)
class Claim:
    """All that a consumer has allocated, on every provider.

    :ivar generation: of the consumer; a write with an older one is refused
    :ivar resources: provider to resource class to amount
    """

    consumer: str
    generation: int
    project_id: str
    user_id: str
    resources: Mapping[str, Mapping[str, int]]


class PlacementClient:
    """Placement's API as far as KongMing uses it.

    :raises PlacementConflict: from every write whose generation is no longer the provider's
    :raises PlacementUnavailable: from every call that got no answer or a server error
    :raises PlacementError: from every call that Placement refused
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    # Reading

    def providers(self, **query: str) -> list[Provider]:
        """Providers by Placement's own query parameters: name, in_tree, required, member_of, uuid."""
        return self._get(
            "/resource_providers",
            f"list providers ({_words(query)})",
            lambda body: [_provider(item) for item in body["resource_providers"]],
            params=query,
        )

    def template_providers(self) -> list[Provider]:
        """Every template provider, in one request."""
        try:
            return self.providers(required=names.TEMPLATE)
        except exceptions.PlacementError as error:
            if error.status == 400:  # the trait is not there yet, and so there is no template
                return []
            raise

    def node_summaries(self) -> list[ProviderSummary]:
        """Every node provider of the cloud with its capacity and use, in one request.

        Placement has no bulk read of inventories; the summaries that come with allocation candidates serve as one.
        Retired nodes do not appear.
        """
        summaries = self._summaries(lambda item: names.NODE in item["resources"])
        return [summary for summary in summaries if summary.capacity[names.NODE]]

    def host_summaries(self) -> list[ProviderSummary]:
        """The same with all other providers of hosts that have such nodes, as the compute nodes themselves."""
        return self._summaries(lambda _: True)

    def _summaries(self, is_wanted: Callable[[Mapping[str, Any]], bool]) -> list[ProviderSummary]:
        try:
            return self._get(
                "/allocation_candidates",
                "summarise the node providers",
                read_summaries,
                condense(is_wanted),
                params={"resources": f"{names.NODE}:1"},
            )
        except exceptions.PlacementError as error:
            if error.status == 400:  # the resource class is not there yet, and so there is no node
                return []
            raise

    def traits(self, uuid: str) -> frozenset[str]:
        """The traits of a provider."""
        url = f"/resource_providers/{uuid}/traits"
        return self._get(url, f"read the traits of {uuid}", lambda body: frozenset(body["traits"]))

    def aggregates(self, uuid: str) -> frozenset[str]:
        """The aggregates of a provider."""
        url = f"/resource_providers/{uuid}/aggregates"
        return self._get(url, f"read the aggregates of {uuid}", lambda body: frozenset(body["aggregates"]))

    def inventories(self, uuid: str) -> dict[str, Inventory]:
        """The inventories of a provider by resource class."""
        return self._get(
            f"/resource_providers/{uuid}/inventories",
            f"read the inventories of {uuid}",
            lambda body: {
                name: Inventory(amount(item["total"]), amount(item["reserved"]), ratio(item["allocation_ratio"]))
                for name, item in body["inventories"].items()
            },
        )

    def allocations(self, uuid: str) -> dict[str, dict[str, int]]:
        """What each consumer has of a provider: consumer to resource class to amount."""
        return self._get(
            f"/resource_providers/{uuid}/allocations",
            f"read the allocations of {uuid}",
            lambda body: {consumer: amounts(item["resources"]) for consumer, item in body["allocations"].items()},
        )

    def claim(self, consumer: str) -> Claim | None:
        """All that a consumer has allocated; None if that is nothing."""

        def read(body: Any) -> Claim | None:
            if not body["allocations"]:
                return None
            resources = {uuid: amounts(item["resources"]) for uuid, item in body["allocations"].items()}
            return Claim(consumer, body["consumer_generation"], body["project_id"], body["user_id"], resources)

        return self._get(f"/allocations/{consumer}", f"read the claim of {consumer}", read)

    # Writing

    def replace_claim(self, claim: Claim) -> None:
        """Let a consumer have this, all of it or nothing.

        Up to microversion 1.37 the consumer keeps its type.

        :raises PlacementConflict: if the consumer or a provider changed in between
        :raises PlacementError: with status 409 if a provider has no room
        """
        body = {
            "allocations": {uuid: {"resources": dict(resources)} for uuid, resources in claim.resources.items()},
            "consumer_generation": claim.generation,
            "project_id": claim.project_id,
            "user_id": claim.user_id,
        }
        self._call("PUT", f"/allocations/{claim.consumer}", f"move the claim of {claim.consumer}", json=body)

    def ensure_traits(self, traits: Iterable[str]) -> None:
        """Make sure that these custom traits exist."""
        wanted = sorted(trait for trait in set(traits) if trait.startswith("CUSTOM_"))
        known: set[str] = set()
        for some in _in_parts(wanted):
            query = {"name": f"in:{','.join(some)}"}
            known |= self._get("/traits", "list traits", lambda body: set(body["traits"]), params=query)
        for trait in wanted:
            if trait not in known:
                self._call("PUT", f"/traits/{trait}", f"create trait {trait}")

    def forget_trait(self, trait: str) -> None:
        """Delete a custom trait, unless a provider has it."""
        try:
            self._call("DELETE", f"/traits/{trait}", f"delete trait {trait}")
        except exceptions.PlacementError as error:
            if error.status not in (404, 409):
                raise

    def ensure_resource_classes(self, classes: Iterable[str]) -> None:
        """Make sure that these custom resource classes exist."""
        for name in sorted(classes):
            self._call("PUT", f"/resource_classes/{name}", f"create resource class {name}")

    def create_provider(self, uuid: str, name: str, parent_uuid: str | None = None) -> Provider:
        """Create a provider.

        :raises PlacementError: with status 409 if the name or the id is taken
        """
        body = {"uuid": uuid, "name": name} | ({"parent_provider_uuid": parent_uuid} if parent_uuid else {})
        return self._ask("POST", "/resource_providers", f"create provider {name}", _provider, json=body)

    def delete_provider(self, uuid: str) -> None:
        """Delete a provider with its traits and aggregates."""
        self._call("DELETE", f"/resource_providers/{uuid}", f"delete provider {uuid}")

    def set_traits(self, uuid: str, generation: int, traits: Iterable[str]) -> int:
        """Replace the traits of a provider; gives its new generation."""
        body = {"resource_provider_generation": generation, "traits": sorted(traits)}
        url = f"/resource_providers/{uuid}/traits"
        return self._put(url, f"set the traits of {uuid}", body)

    def set_aggregates(self, uuid: str, generation: int, aggregates: Iterable[str]) -> int:
        """Replace the aggregates of a provider; gives its new generation."""
        body = {"resource_provider_generation": generation, "aggregates": sorted(aggregates)}
        url = f"/resource_providers/{uuid}/aggregates"
        return self._put(url, f"set the aggregates of {uuid}", body)

    def set_inventories(self, uuid: str, generation: int, inventories: Mapping[str, Inventory]) -> int:
        """Replace the inventories of a provider; gives its new generation.

        :raises PlacementError: with status 409 if a class that is allocated would go
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
        return self._put(url, f"set the inventories of {uuid}", body)

    # Plumbing

    def _get(
        self, url: str, action: str, read: Callable[[Any], _T], object_hook: ObjectHook | None = None, **kwargs: Any
    ) -> _T:
        return self._ask("GET", url, action, read, object_hook, **kwargs)

    def _put(self, url: str, action: str, body: Mapping[str, Any]) -> int:
        """Replace a part of a provider; gives the provider's new generation."""
        return self._ask("PUT", url, action, lambda answer: amount(answer["resource_provider_generation"]), json=body)

    def _ask(
        self,
        method: str,
        url: str,
        action: str,
        read: Callable[[Any], _T],
        object_hook: ObjectHook | None = None,
        **kwargs: Any,
    ) -> _T:
        """Ask, and read the answer; an answer of another shape than Placement's counts as none.

        :param object_hook: what becomes of each object of the answer while it is parsed, as in :func:`json.loads`
        """
        response = self._call(method, url, action, **kwargs)
        try:
            return read(response.json(object_hook=object_hook))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise exceptions.PlacementUnavailable(action, f"the answer is not Placement's: {error!r}") from error

    def _call(self, method: str, url: str, action: str, **kwargs: Any) -> Response:
        try:
            response = self._adapter.request(
                url,
                method,
                microversion=MICROVERSION,
                raise_exc=False,
                headers={"Accept": "application/json"},
                **kwargs,
            )
        except ksa_exceptions.ClientException as error:
            raise exceptions.PlacementUnavailable(action, str(error)) from error
        if response.status_code < 400:
            return response
        code, detail = _error(response)
        kind: type[exceptions.PlacementError] = exceptions.PlacementError
        if response.status_code >= 500:
            kind = exceptions.PlacementUnavailable
        elif response.status_code == 404:  # with Placement's own code; a web server's 404 says that it is not there
            kind = exceptions.ProviderNotFound if code else exceptions.PlacementUnavailable
        elif code == _CONFLICT:
            kind = exceptions.PlacementConflict
        raise kind(action, detail, response.status_code, code)


def _in_parts(words: Iterable[str]) -> Iterator[list[str]]:
    """The words in parts that are short enough for a URL, in which each comma is three characters."""
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


def _error(response: Response) -> tuple[str, str]:
    """Placement's error code and the last line of its detail, which holds the reason."""
    try:
        error = response.json()["errors"][0]
        return error.get("code", ""), error["detail"].strip().splitlines()[-1].strip()
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", f"HTTP status {response.status_code}"


def _provider(item: Mapping[str, Any]) -> Provider:
    return Provider(
        item["uuid"],
        item["name"],
        amount(item["generation"]),
        item["root_provider_uuid"],
        item["parent_provider_uuid"],
    )

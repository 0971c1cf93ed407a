# SPDX-License-Identifier: Apache-2.0
"""A Placement in memory, for the stories of test_promises.py, of which each makes some hundred requests.

It stands for the real one where that is not what is tested: it knows the requests of the agent and of Nova's claims,
and answers them at a fiftieth of the cost, so that a story that fails can be shrunk in minutes. What it answers is what
the real one answers: compared_placement.py sends each request to both, which one story does in each run of the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1 import adapter, session
from keystoneauth1 import exceptions as ksa_exceptions

from testbed.adapters import Answer

CONFLICT = "placement.concurrent_update"
_STANDARD = re.compile(r"(HW|COMPUTE|MISC|STORAGE)_[A-Z0-9_]+|MEMORY_MB|VCPU|PCPU|DISK_GB")
"""Traits and resource classes that need not be made, those of os-traits and os-resource-classes."""

_Amounts = dict[str, int]
ERRORS = {400: ksa_exceptions.BadRequest, 404: ksa_exceptions.NotFound, 409: ksa_exceptions.Conflict}


class _Refused(Exception):
    """An answer of 400 or more."""

    def __init__(self, status: int, detail: str, code: str = "placement.undefined_code") -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code


@dataclass
class _Provider:
    uuid: str
    name: str
    parent: str | None
    root: str
    generation: int = 0
    traits: set[str] = field(default_factory=set)
    aggregates: set[str] = field(default_factory=set)
    inventories: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As a list of providers has it."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "generation": self.generation,
            "root_provider_uuid": self.root,
            "parent_provider_uuid": self.parent,
        }

    def check(self, generation: object) -> None:
        """Refuse a write of an old generation."""
        if generation != self.generation:
            raise _Refused(409, "resource provider generation conflict", CONFLICT)


@dataclass
class _Consumer:
    generation: int
    project_id: str
    user_id: str
    resources: dict[str, _Amounts]


class MemoryPlacement(adapter.Adapter):
    """An adapter of a Placement that holds nothing at first."""

    def __init__(self) -> None:
        super().__init__(session.Session())
        self._providers: dict[str, _Provider] = {}
        self._consumers: dict[str, _Consumer] = {}
        self._known: set[str] = set()
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., object]]] = [
            (method, re.compile(pattern), answer)
            for method, pattern, answer in (
                ("GET", "/resource_providers", self._list_providers),
                ("POST", "/resource_providers", self._create_provider),
                ("DELETE", "/resource_providers/([^/]+)", self._delete_provider),
                ("GET", "/resource_providers/([^/]+)/traits", self._get_traits),
                ("PUT", "/resource_providers/([^/]+)/traits", self._put_traits),
                ("GET", "/resource_providers/([^/]+)/aggregates", self._get_aggregates),
                ("PUT", "/resource_providers/([^/]+)/aggregates", self._put_aggregates),
                ("GET", "/resource_providers/([^/]+)/inventories", self._get_inventories),
                ("PUT", "/resource_providers/([^/]+)/inventories", self._put_inventories),
                ("GET", "/resource_providers/([^/]+)/allocations", self._get_provider_allocations),
                ("GET", "/traits", self._list_traits),
                ("PUT", "/traits/([^/]+)", self._put_word),
                ("DELETE", "/traits/([^/]+)", self._delete_trait),
                ("PUT", "/resource_classes/([^/]+)", self._put_word),
                ("GET", "/allocations/([^/]+)", self._get_allocations),
                ("PUT", "/allocations/([^/]+)", self._put_allocations),
                ("DELETE", "/allocations/([^/]+)", self._delete_allocations),
            )
        ]

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        """Answer a request as Placement does.

        :raises AssertionError: for one that is not known here
        """
        answer = self._answer(method, url, kwargs.get("json"), kwargs.get("params") or {})
        if kwargs.get("raise_exc", True) and answer.status_code >= 400:
            raise ERRORS[answer.status_code](answer.text)
        return answer

    def _answer(self, method: str, url: str, body: Any, params: Mapping[str, str]) -> Answer:
        for known, pattern, answer in self._routes:
            if known == method and (match := pattern.fullmatch(url)):
                given: list[Any] = list(match.groups())
                if method in ("POST", "PUT"):
                    given.append(body)
                elif not given:
                    given.append(params)
                try:
                    found = answer(*given)
                except _Refused as refused:
                    errors = [{"code": refused.code, "detail": refused.detail}]
                    return Answer(refused.status, json.dumps({"errors": errors}))
                return Answer(204 if found is None else 200, "" if found is None else json.dumps(found))
        raise AssertionError(f"{method} {url} is not answered from memory")

    # Providers

    def _list_providers(self, query: Mapping[str, str]) -> object:
        found = list(self._providers.values())
        if "name" in query:
            found = [provider for provider in found if provider.name == query["name"]]
        if "uuid" in query:
            found = [provider for provider in found if provider.uuid == query["uuid"]]
        if "in_tree" in query:
            roots = {provider.root for provider in found if provider.uuid == query["in_tree"]}
            found = [provider for provider in found if provider.root in roots]
        if "required" in query:
            self._check_words([query["required"]])
            found = [provider for provider in found if query["required"] in provider.traits]
        return {"resource_providers": [provider.as_json() for provider in found]}

    def _create_provider(self, body: Mapping[str, Any]) -> object:
        uuid, name, parent = body["uuid"], body["name"], body.get("parent_provider_uuid")
        if any(uuid == provider.uuid or name == provider.name for provider in self._providers.values()):
            raise _Refused(409, "Conflicting resource provider name or uuid", "placement.duplicate_name")
        self._providers[uuid] = _Provider(uuid, name, parent, self._providers[parent].root if parent else uuid)
        return self._providers[uuid].as_json()

    def _delete_provider(self, uuid: str) -> None:
        self._provider(uuid)
        if any(uuid in consumer.resources for consumer in self._consumers.values()):
            raise _Refused(409, "the provider is in use", "placement.resource_provider.inuse")
        del self._providers[uuid]

    def _provider(self, uuid: str) -> _Provider:
        if uuid not in self._providers:
            raise _Refused(404, f"No resource provider with uuid {uuid} found")
        return self._providers[uuid]

    # What providers have

    def _get_traits(self, uuid: str) -> object:
        provider = self._provider(uuid)
        return {"traits": sorted(provider.traits), "resource_provider_generation": provider.generation}

    def _put_traits(self, uuid: str, body: Mapping[str, Any]) -> object:
        provider, wanted = self._provider(uuid), set(body["traits"])
        provider.check(body["resource_provider_generation"])
        self._check_words(wanted)
        provider.generation += provider.traits != wanted
        provider.traits = wanted
        return self._get_traits(uuid)

    def _get_aggregates(self, uuid: str) -> object:
        provider = self._provider(uuid)
        return {"aggregates": sorted(provider.aggregates), "resource_provider_generation": provider.generation}

    def _put_aggregates(self, uuid: str, body: Mapping[str, Any]) -> object:
        provider = self._provider(uuid)
        provider.check(body["resource_provider_generation"])
        provider.aggregates = set(body["aggregates"])
        provider.generation += 1
        return self._get_aggregates(uuid)

    def _get_inventories(self, uuid: str) -> object:
        provider = self._provider(uuid)
        return {"inventories": provider.inventories, "resource_provider_generation": provider.generation}

    def _put_inventories(self, uuid: str, body: Mapping[str, Any]) -> object:
        provider = self._provider(uuid)
        provider.check(body["resource_provider_generation"])
        self._check_words(body["inventories"])
        for name in provider.inventories.keys() - body["inventories"].keys():
            if self._used(uuid, name):
                raise _Refused(409, f"Inventory for {name!r} is in use", "placement.inventory.inuse")
        defaults = {"reserved": 0, "min_unit": 1, "max_unit": 2**31 - 1, "step_size": 1, "allocation_ratio": 1.0}
        provider.inventories = {name: defaults | inventory for name, inventory in body["inventories"].items()}
        provider.generation += 1
        return self._get_inventories(uuid)

    # Traits and resource classes

    def _list_traits(self, query: Mapping[str, str]) -> object:
        asked = query["name"].removeprefix("in:").split(",")
        return {"traits": [trait for trait in asked if trait in self._known]}

    def _put_word(self, word: str, _: object) -> None:
        self._known.add(word)

    def _delete_trait(self, trait: str) -> None:
        if trait not in self._known:
            raise _Refused(404, f"No such trait {trait}")
        if any(trait in provider.traits for provider in self._providers.values()):
            raise _Refused(409, f"The trait {trait} is in use by a resource provider")
        self._known.remove(trait)

    def _check_words(self, words: Any) -> None:
        if unknown := {word for word in words if word not in self._known and not _STANDARD.fullmatch(word)}:
            raise _Refused(400, f"No such {', '.join(sorted(unknown))}")

    # Allocations

    def _get_provider_allocations(self, uuid: str) -> object:
        provider = self._provider(uuid)
        held = {
            name: {"resources": consumer.resources[uuid], "consumer_generation": consumer.generation}
            for name, consumer in self._consumers.items()
            if uuid in consumer.resources
        }
        return {"allocations": held, "resource_provider_generation": provider.generation}

    def _get_allocations(self, name: str) -> object:
        consumer = self._consumers.get(name)
        if consumer is None:
            return {"allocations": {}}
        held = {
            uuid: {"resources": resources, "generation": self._providers[uuid].generation}
            for uuid, resources in consumer.resources.items()
        }
        return {
            "allocations": held,
            "consumer_generation": consumer.generation,
            "project_id": consumer.project_id,
            "user_id": consumer.user_id,
        }

    def _put_allocations(self, name: str, body: Mapping[str, Any]) -> None:
        before = self._consumers.get(name)
        if body["consumer_generation"] != (before.generation if before else None):
            raise _Refused(409, "consumer generation conflict", CONFLICT)
        wanted = {uuid: dict(item["resources"]) for uuid, item in body["allocations"].items()}
        for uuid, resources in wanted.items():
            if uuid not in self._providers:
                raise _Refused(400, f"Allocation for resource provider {uuid!r} that does not exist.")
            for resource, amount in resources.items():
                self._check_room(uuid, resource, amount, before.resources.get(uuid, {}) if before else {})
        for uuid in wanted:
            self._providers[uuid].generation += 1
        generation = before.generation + 1 if before else 1
        self._consumers[name] = _Consumer(generation, body["project_id"], body["user_id"], wanted)

    def _check_room(self, uuid: str, resource: str, amount: int, own: Mapping[str, int]) -> None:
        """Refuse an amount that is too much, unless the consumer takes no more than before."""
        inventory = self._providers[uuid].inventories.get(resource)
        used = self._used(uuid, resource)
        if inventory is None:
            raise _Refused(409, f"Unable to allocate inventory: no {resource}")
        if amount > inventory["max_unit"]:
            raise _Refused(409, "Unable to allocate inventory: constraints are violated")
        capacity = (inventory["total"] - inventory["reserved"]) * inventory["allocation_ratio"]
        after = used - own.get(resource, 0) + amount
        if after > capacity and not (resource in own and after <= used):
            raise _Refused(409, "Unable to allocate inventory: the requested amount would exceed the capacity.")

    def _delete_allocations(self, name: str) -> None:
        if name not in self._consumers:
            raise _Refused(404, f"No allocations for consumer {name}")
        del self._consumers[name]

    def _used(self, uuid: str, resource: str) -> int:
        return sum(consumer.resources.get(uuid, {}).get(resource, 0) for consumer in self._consumers.values())

# SPDX-License-Identifier: Apache-2.0
"""KongMing's own client of Placement over Tempest's: logged as Tempest logs, reached as tempest.conf says.

Tempest's clients of Placement cannot create resource providers, nor set their aggregates.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tempest.lib.common import rest_client

from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient


class Answer:
    """An answer as the client reads it."""

    def __init__(self, status_code: int, body: bytes | str) -> None:
        self.status_code = status_code
        self._body = body

    def json(self, **kwargs: Any) -> Any:
        """The body, parsed by :func:`json.loads` with these arguments.

        :raises ValueError: if it is no JSON
        """
        return json.loads(self._body, **kwargs)


class TempestAdapter:
    """An adapter as the client expects it of keystoneauth, over Tempest's client."""

    def __init__(self, client: rest_client.RestClient) -> None:
        self._client = client

    def request(self, url: str, method: str, **kwargs: Any) -> Answer:
        """Send a request and give the answer, whatever its status.

        :param kwargs: of keystoneauth's, those that the client gives
        """
        path = f"{url}?{urlencode(kwargs['params'])}" if kwargs.get("params") else url
        sent = {**kwargs["headers"], "OpenStack-API-Version": f"placement {kwargs['microversion']}"}
        body = None
        if "json" in kwargs:
            sent["Content-Type"] = "application/json"
            body = json.dumps(kwargs["json"])
        client = self._client
        target, sent, body = client.auth_provider.auth_request(method, path, sent, body, client.filters)
        response, answer = client.raw_request(target, method, headers=sent, body=body)
        return Answer(response.status, answer)


class Placement(PlacementClient):
    """KongMing's client of Placement with the further requests of the tests."""

    def claims(self, consumer: str) -> dict[str, dict[str, int]]:
        """Provider to what a consumer has of it."""
        return self.transport.get(
            f"/allocations/{consumer}",
            f"read the allocations of consumer {consumer}",
            lambda body: {uuid: dict(item["resources"]) for uuid, item in body["allocations"].items()},
        )

    def offering(self, template: str) -> list[str]:
        """The node providers that offer a template now."""
        return [node.uuid for node in self.node_summaries() if names.template_trait(template) in node.traits]

    def has_traces(self, template: str) -> bool:
        """Whether a node provider offers a template, or has inventory for it: the one goes before the other."""
        trait, slot = names.template_trait(template), names.slot_class(template)
        return any(trait in node.traits or slot in node.capacity for node in self.node_summaries())

    def forget_slot_class(self, template: str) -> None:
        """Delete the resource class of a template with explicit host CPUs, which no provider has any more."""
        name = names.slot_class(template)
        self.transport.send("DELETE", f"/resource_classes/{name}", f"delete resource class {name}")

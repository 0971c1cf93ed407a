# SPDX-License-Identifier: Apache-2.0
"""Nova's API as far as the commands use it: flavors with their extra specs, servers with flavor and metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from openstack import exceptions as sdk_exceptions

from kongming_sched import exceptions
from kongming_sched.api.adapter import REQUEST_ID_HEADER
from kongming_sched.api.faults import NO_ANSWER, UNREADABLE, words
from kongming_sched.api.markers import Markers
from kongming_sched.texts.whole_number import AMOUNTS, read_whole_number

MICROVERSION = "2.61"
"""Nova's release Rocky: lists of flavors hold their extra specs, and servers (from 2.47) those of their flavor.

Every request names it, whatever default the operator's clouds.yaml has."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Flavor:
    """A flavor, or the copy of it that a server keeps.

    :ivar id: empty for a server's copy
    :ivar disk_gb: root, ephemeral and swap together, in GiB
    """

    id: str
    name: str
    vcpus: int
    memory_mb: int
    extra_specs: Mapping[str, str]
    disk_gb: int = 0


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A host aggregate. Nova writes its members to Placement as well."""

    uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """A compute node of Nova; its id is that of its provider in Placement."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Server:
    """A server of any project.

    :ivar host: the compute node that it is on; empty if none
    :ivar status: as in ``ACTIVE``
    :ivar task: what Nova does with it now, as in ``migrating``; empty for nothing
    """

    id: str
    name: str
    flavor: Flavor
    metadata: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    status: str = ""
    project_id: str = ""
    task: str = ""


class ComputeClient:
    """A client of Nova.

    :param connect: gives openstacksdk's compute proxy; called for the first request
    :param request_id: the global request id that the requests carry; empty for none
    :raises ComputeError: from every call that Nova refused or did not answer
    """

    def __init__(self, connect: Callable[[], Any], request_id: str = "") -> None:
        self._connect = connect
        self._headers = {"Accept": "application/json"} | ({REQUEST_ID_HEADER: request_id} if request_id else {})

    def flavors(self) -> Iterator[Flavor]:
        """Every flavor, private ones included."""
        return self._pages("list flavors", "/flavors/detail", "flavors", _flavor, is_public="None")

    def find_flavor(self, name_or_id: str) -> Flavor:
        """The flavor with this id, or else with this name.

        :raises FlavorNotFound: if there is none
        """
        found = [flavor for flavor in self.flavors() if name_or_id in (flavor.id, flavor.name)]
        found.sort(key=lambda flavor: flavor.id != name_or_id)
        if not found:
            raise exceptions.FlavorNotFound(name_or_id)
        return found[0]

    def servers(self) -> Iterator[Server]:
        """Every server of all projects."""
        return self._pages("list servers", "/servers/detail", "servers", _server, all_tenants="True")

    def hypervisors(self) -> Iterator[Hypervisor]:
        """Every compute node of every cell that answers."""
        return self._pages(
            "list hypervisors",
            "/os-hypervisors",
            "hypervisors",
            lambda item: Hypervisor(str(item["id"]), str(item["hypervisor_hostname"])),
        )

    def silent_hosts(self) -> frozenset[str]:
        """The hosts with a nova-compute whose cell does not answer, so that Nova does not list what is there.

        Only from microversion 2.69 on (Stein) are they listed, as of unknown status.
        """
        action = "list compute services"
        response = self._request(action, "GET", "/os-services", params={"binary": "nova-compute"}, microversion="2.69")
        try:
            services = response.json()["services"]
            return frozenset(str(item["host"]) for item in services if item["status"] == "UNKNOWN")
        except UNREADABLE as error:
            raise exceptions.ComputeError(action, f"the answer is not Nova's: {error!r}") from error

    def find_server(self, name_or_id: str) -> Server:
        """The server with this id, or else with this name.

        :raises ServerNotFound: if there is none, or several have the name
        """
        action = f"read server {name_or_id}"
        response = self._request(action, "GET", f"/servers/{quote(name_or_id, safe='')}", accept=(400, 404))
        if response.status_code == 200:
            try:
                return _server(response.json()["server"])
            except UNREADABLE as error:
                raise exceptions.ComputeError(action, f"the answer is not Nova's: {error!r}") from error
        query = {"all_tenants": "True", "name": f"^{re.escape(name_or_id)}$"}
        named = [
            server
            for server in self._pages("list servers", "/servers/detail", "servers", _server, **query)
            if server.name == name_or_id
        ]
        if len(named) != 1:
            reason = (
                f"{len(named)} servers are named; say by id which one is meant, not" if named else "there is no server"
            )
            raise exceptions.ServerNotFound(name_or_id, reason)
        return named[0]

    def set_metadata(self, server: Server, metadata: Mapping[str, str]) -> None:
        """Add or replace metadata of a server; after an error nothing has changed."""
        action = f"set metadata of server {server.name}"
        self._request(action, "POST", f"/servers/{server.id}/metadata", json={"metadata": dict(metadata)})

    def delete_metadata(self, server: Server, key: str) -> None:
        """Delete a key of a server's metadata, if it exists."""
        action = f"delete metadata {key} of server {server.name}"
        self._request(action, "DELETE", f"/servers/{server.id}/metadata/{quote(key, safe=':')}", accept=(404,))

    def aggregates(self) -> list[Aggregate]:
        """Every host aggregate, by name."""
        action = "list host aggregates"
        response = self._request(action, "GET", "/os-aggregates")
        try:
            items = response.json()["aggregates"]
            found = [Aggregate(str(item["uuid"]), str(item["name"])) for item in items]
        except UNREADABLE as error:
            raise exceptions.ComputeError(action, f"the answer is not Nova's: {error!r}") from error
        return sorted(found, key=lambda aggregate: aggregate.name)

    def set_extra_specs(self, flavor: Flavor, extra_specs: Mapping[str, str]) -> None:
        """Add or replace extra specs of a flavor; after an error nothing has changed."""
        action = f"set extra specs of flavor {flavor.name}"
        self._request(action, "POST", _extra_specs_url(flavor), json={"extra_specs": dict(extra_specs)})

    def delete_extra_spec(self, flavor: Flavor, key: str) -> None:
        """Delete an extra spec of a flavor, if it exists."""
        action = f"delete extra spec {key} of flavor {flavor.name}"
        self._request(action, "DELETE", f"{_extra_specs_url(flavor)}/{quote(key, safe=':')}", accept=(404,))

    def _pages(
        self, action: str, url: str, key: str, read: Callable[[Mapping[str, Any]], _T], **query: str
    ) -> Iterator[_T]:
        """The items of all pages: Nova gives 1000 at a time, and a link if there are more."""
        markers = Markers()
        while True:
            response = self._request(action, "GET", url, params=query)
            try:
                body = response.json()
                items = [read(item) for item in body[key]]
                query["marker"] = markers.next(body[key], body.get(f"{key}_links"))
            except UNREADABLE as error:
                reason = f"the answer is not Nova's, or does not show extra specs to you: {error!r}"
                raise exceptions.ComputeError(action, reason) from error
            yield from items
            if not query["marker"]:
                return

    def _request(
        self,
        action: str,
        method: str,
        url: str,
        accept: tuple[int, ...] = (),
        microversion: str = MICROVERSION,
        **kwargs: Any,
    ) -> Any:
        try:
            response = self._connect().request(
                url,
                method,
                microversion=microversion,
                raise_exc=False,
                headers=dict(self._headers),
                **kwargs,
            )
            if response.status_code not in accept:
                sdk_exceptions.raise_from_response(response)
        except sdk_exceptions.HttpException as error:
            remedy = " This needs the role admin" if error.status_code == 403 else ""
            reason = f"{error.details or error.message}{remedy} (HTTP {error.status_code} from {error.url})"
            raise exceptions.ComputeError(action, reason) from error
        except sdk_exceptions.SDKException as error:
            raise exceptions.ComputeError(action, str(error)) from error
        except NO_ANSWER as error:
            raise exceptions.ComputeError(action, words(error)) from error
        return response


def _extra_specs_url(flavor: Flavor) -> str:
    return f"/flavors/{quote(flavor.id, safe='')}/os-extra_specs"


def _flavor(item: Mapping[str, Any]) -> Flavor:
    """A flavor as in the list of flavors, or as in a server, where it has no id and other keys."""
    name = item["name"] if "name" in item else item["original_name"]
    ephemeral_gb = item["ephemeral"] if "ephemeral" in item else item["OS-FLV-EXT-DATA:ephemeral"]
    swap_gb = math.ceil(_amount(item["swap"] or 0) / 1024)  # as Nova's scheduler rounds it
    disk_gb = _amount(item["disk"]) + _amount(ephemeral_gb) + swap_gb
    vcpus, memory_mb = _amount(item["vcpus"]), _amount(item["ram"])
    extra_specs = {str(key): str(value) for key, value in item["extra_specs"].items()}
    return Flavor(str(item.get("id", "")), str(name), vcpus, memory_mb, extra_specs, disk_gb)


def _amount(value: object) -> int:
    """An amount, which Nova writes as a number, or as a text where it is of the swap.

    :raises InvalidNumber: if it is none
    """
    return read_whole_number(str(value), AMOUNTS)


def _server(item: Mapping[str, Any]) -> Server:
    metadata = {str(key): str(value) for key, value in item.get("metadata", {}).items()}
    host = str(item.get("OS-EXT-SRV-ATTR:hypervisor_hostname") or "")
    server_id, name, status, project_id = (str(item[key]) for key in ("id", "name", "status", "tenant_id"))
    task = str(item.get("OS-EXT-STS:task_state") or "")
    return Server(server_id, name, _flavor(item["flavor"]), metadata, host, status, project_id, task)

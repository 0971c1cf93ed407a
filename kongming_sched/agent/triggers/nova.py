# SPDX-License-Identifier: Apache-2.0
"""Nova's API as far as the agent uses it: the metadata of servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from kongming_sched import exceptions
from kongming_sched.api.faults import NO_ANSWER, UNREADABLE, words
from kongming_sched.api.markers import Markers
from kongming_sched.placement.transport import Adapter

_T = TypeVar("_T")

_NO_RIGHT = (
    "the user of [kongming_nova] may not list servers of all projects, for which the role service is not enough: set a"
    " user with the role admin there, instead of auth_section = placement, or allow its role"
    " os_compute_api:servers:detail, os_compute_api:servers:detail:get_all_tenants and"
    " os_compute_api:servers:allow_all_filters in nova-api's policy file"
)


class NovaClient:
    """Reads servers.

    :param adapter: a keystoneauth adapter of the compute service
    :raises ComputeError: from every call that Nova refused or did not answer
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def metadata(self, server: str) -> dict[str, str] | None:
        """The metadata of a server; None if there is no such server.

        Nova hides servers of other projects from users that are no administrators, as if there were none; so it is
        asked again in a way that it refuses to them, before a server is taken for deleted.
        """
        action = f"read server {server}"
        found = self._read(
            action,
            f"/servers/{quote(server, safe='')}",
            lambda body: None if body is None else _metadata(body["server"]),
        )
        return self._list(action, {"uuid": server}).get(server) if found is None else found

    def metadata_of_host(self, host: str) -> dict[str, dict[str, str]]:
        """The metadata of all servers of a compute node, by their ids."""
        return self._list(f"list the servers of {host}", {"node": f"^{_as_regex(host)}$"})

    def _list(self, action: str, query: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The metadata of all servers of all projects that a query finds, by their ids."""
        found: dict[str, dict[str, str]] = {}
        query = {"all_tenants": "1", **query}
        markers = Markers()

        def read(body: Any) -> str:
            items = body["servers"]
            found.update((str(item["id"]), _metadata(item)) for item in items)
            return markers.next(items, body.get("servers_links"))

        while marker := self._read(action, "/servers/detail", read, query):
            query["marker"] = marker
        return found

    def _read(self, action: str, url: str, read: Callable[[Any], _T], params: Mapping[str, str] | None = None) -> _T:
        """Send a GET, and read what it answers.

        :param action: what it is for, completing "Nova could not ..."
        :param read: makes the result from the parsed body, which is None if there is no such server
        """
        try:
            response = self._adapter.request(
                url, "GET", params=dict(params or {}), raise_exc=False, headers={"Accept": "application/json"}
            )
        except NO_ANSWER as error:
            raise exceptions.ComputeError(action, words(error)) from error
        is_gone = response.status_code == 404 and not params
        if response.status_code == 403:
            raise exceptions.ComputeError(action, _NO_RIGHT)
        if response.status_code != 200 and not is_gone:
            raise exceptions.ComputeError(action, f"{url} gave HTTP {response.status_code}")
        try:
            return read(None if is_gone else response.json())
        except UNREADABLE as error:
            raise exceptions.ComputeError(action, f"the answer is not Nova's: {error!r}") from error


def _metadata(server: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in server["metadata"].items()}


def _as_regex(name: str) -> str:
    """Nova compares by regular expressions of its database, of which host names hold the dot alone."""
    return name.replace(".", "\\.")

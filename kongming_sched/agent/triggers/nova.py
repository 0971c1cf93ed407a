# SPDX-License-Identifier: Apache-2.0
"""Nova's API as far as the agent uses it: the metadata of servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.placement.transport import Adapter


class NovaClient:
    """Reads servers.

    :param adapter: a keystoneauth adapter of the compute service
    :raises ComputeError: from every call that Nova refused or did not answer
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def metadata(self, server: str) -> dict[str, str] | None:
        """The metadata of a server; None if there is no such server."""
        body = self._get(f"read server {server}", f"/servers/{quote(server, safe='')}")
        return None if body is None else _metadata(body.get("server"))

    def metadata_of_host(self, host: str) -> dict[str, dict[str, str]]:
        """The metadata of all servers of a compute node, by their ids."""
        found: dict[str, dict[str, str]] = {}
        action = f"list the servers of {host}"
        query = {"all_tenants": "1", "node": f"^{_as_regex(host)}$"}
        while True:
            body = self._get(action, "/servers/detail", query) or {}
            try:
                page = {item["id"]: _metadata(item) for item in body["servers"]}
            except (LookupError, TypeError) as error:
                raise exceptions.ComputeError(action, f"the answer is not Nova's: {error!r}") from error
            found |= page
            if not page or not body.get("servers_links"):
                return found
            query["marker"] = list(page)[-1]

    def _get(self, action: str, url: str, params: Mapping[str, str] | None = None) -> Any:
        try:
            response = self._adapter.request(
                url, "GET", params=dict(params or {}), raise_exc=False, headers={"Accept": "application/json"}
            )
            if response.status_code == 404 and not params:
                return None
            if response.status_code != 200:
                raise exceptions.ComputeError(action, f"{url} gave HTTP {response.status_code}")
            return response.json()
        except (ksa_exceptions.ClientException, ValueError) as error:
            raise exceptions.ComputeError(action, str(error)) from error


def _metadata(server: Any) -> dict[str, str]:
    if not isinstance(server, Mapping) or not isinstance(server.get("metadata"), Mapping):
        raise exceptions.ComputeError("read a server", "the answer is not Nova's: it has no metadata")
    return {str(key): str(value) for key, value in server["metadata"].items()}


def _as_regex(name: str) -> str:
    """Nova compares by regular expressions of its database, of which host names hold the dot alone."""
    return name.replace(".", "\\.")

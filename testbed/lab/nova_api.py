# SPDX-License-Identifier: Apache-2.0
"""Nova's real API as a process of its own on loopback, with SQLite databases and without a message bus."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

import requests

from testbed.lab.placement_api import TOKEN
from testbed.lab.process import ChildProcess

_VERSION = "/v2.1"

_CONFIGURATION = """\
[DEFAULT]
host = lab
use_stderr = True
transport_url = fake:/
service_down_time = 86400
state_path = {directory}
[wsgi]
api_paste_config = {directory}/api-paste.ini
[api_database]
connection = sqlite:///{directory}/nova_api.sqlite
[database]
connection = sqlite:///{directory}/nova_cell1.sqlite
[oslo_concurrency]
lock_path = {directory}
[oslo_policy]
policy_file = {directory}/policy.yaml
"""

_PLACEMENT = """\
[placement]
auth_type = admin_token
endpoint = {endpoint}
token = {token}
endpoint_override = {endpoint}
"""

_PASTE = """\
[composite:osapi_compute]
use = call:nova.api.openstack.urlmap:urlmap_factory
/: versions
/v2.1: version_v21
/v2.1/+: v21

[composite:v21]
use = call:nova.api.auth:pipeline_factory_v21
keystone = compute_req_id faultwrap request_log sizelimit lab_token keystonecontext compute

[pipeline:versions]
pipeline = faultwrap request_log versions_app

[pipeline:version_v21]
pipeline = compute_req_id faultwrap request_log version_v21_app

[filter:compute_req_id]
paste.filter_factory = nova.api.compute_req_id:ComputeReqIdMiddleware.factory
[filter:faultwrap]
paste.filter_factory = nova.api.openstack:FaultWrapper.factory
[filter:request_log]
paste.filter_factory = nova.api.openstack.requestlog:RequestLog.factory
[filter:sizelimit]
paste.filter_factory = oslo_middleware:RequestBodySizeLimiter.factory
[filter:lab_token]
paste.filter_factory = testbed.lab.nova_wsgi:token_filter
[filter:keystonecontext]
paste.filter_factory = nova.api.auth:NovaKeystoneContext.factory

[app:compute]
paste.app_factory = nova.api.openstack.compute:APIRouterV21.factory
[app:versions_app]
paste.app_factory = nova.api.openstack.compute.versions:Versions.factory
[app:version_v21_app]
paste.app_factory = nova.api.openstack.compute.versions:VersionsV2.factory
"""


def placement_section(endpoint: str) -> str:
    """The section of nova.conf with which Nova's own code finds Placement without Keystone."""
    return _PLACEMENT.format(endpoint=endpoint, token=TOKEN)


class NovaApi(ChildProcess):
    """Nova's compute API with empty databases in ``directory``. Flavors can be made; servers need the rest of Nova.

    :param placement_endpoint: where Nova finds Placement, if it shall
    :ivar endpoint: its URL with the version
    """

    endpoint: str

    def __init__(self, directory: Path, placement_endpoint: str | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._port_file = directory / "nova.port"
        self._port_file.unlink(missing_ok=True)
        placement = placement_section(placement_endpoint) if placement_endpoint else ""
        (directory / "nova.conf").write_text(_CONFIGURATION.format(directory=directory) + placement)
        (directory / "api-paste.ini").write_text(_PASTE)
        (directory / "policy.yaml").write_text("{}\n")  # read again when it has changed
        super().__init__(
            "nova-api",
            [sys.executable, "-m", "testbed.lab.wsgi_server", "testbed.lab.nova_wsgi", self._port_file],
            directory,
            {"OS_NOVA_CONFIG_DIR": str(directory), "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"},
        )

    def build(self, server: str, host: str) -> None:
        """Make a server run on a host, for all that the API knows."""
        root = self.endpoint.removesuffix(_VERSION)
        requests.put(f"{root}/lab/running/{server}/{host}", timeout=60).raise_for_status()  # see nova_build.py

    def forget_servers(self) -> None:
        """Take all servers out of the databases, since no conductor and no compute node is there to delete them."""
        with contextlib.closing(sqlite3.connect(self._directory / "nova_api.sqlite")) as api, api:
            api.executescript("DELETE FROM build_requests; DELETE FROM request_specs; DELETE FROM instance_mappings")
        with contextlib.closing(sqlite3.connect(self._directory / "nova_cell1.sqlite")) as cell, cell:
            cell.execute("UPDATE instances SET deleted = id")

    def __enter__(self) -> NovaApi:
        super().__enter__()
        port = self.wait_for_port(self._port_file)
        self.endpoint = f"http://127.0.0.1:{port}{_VERSION}"
        return self

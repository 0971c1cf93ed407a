# SPDX-License-Identifier: Apache-2.0
"""Makes a server that Nova's API was asked for one that runs, as nova-conductor and nova-compute would.

It is done in the API's own process: a program of its own would first import all of Nova, for each server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from testbed.releases import fixtures

fixtures.run_on_native_threads()

from nova import context, objects  # noqa: E402  # Nova must choose its threads before all else
from nova.compute import vm_states  # noqa: E402
from oslo_utils import timeutils  # noqa: E402

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/lab/running"
"""``PUT PATH/SERVER/HOST`` makes a server run on a host."""


def building(application: WSGIApplication) -> WSGIApplication:
    """Nova's API, which also makes servers run."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        folder, _, name = environ["PATH_INFO"].rpartition("/")
        path, _, server = folder.rpartition("/")
        if path != PATH:
            return application(environ, start_response)
        build(server, name)
        start_response("204 No Content", [])
        return []

    return answer


def build(server: str, host: str) -> None:
    """Move a server from the API's database into the cell, active on this host."""
    admin = context.get_admin_context()
    request = objects.BuildRequest.get_by_instance_uuid(admin, server)
    mapping = objects.InstanceMapping.get_by_instance_uuid(admin, server)
    cell = next(cell for cell in objects.CellMappingList.get_all(admin) if not cell.is_cell0())
    with context.target_cell(admin, cell) as in_cell:
        instance = request.get_new_instance(in_cell)
        instance.create()
        instance.host = instance.launched_on = host
        instance.node, instance.compute_id = host, 1
        instance.vm_state, instance.task_state = vm_states.ACTIVE, None
        instance.launched_at = timeutils.utcnow()
        instance.save()
    mapping.cell_mapping = cell
    mapping.save()
    request.destroy()

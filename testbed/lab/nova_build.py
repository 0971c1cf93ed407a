# SPDX-License-Identifier: Apache-2.0
"""Makes a server that Nova's API was asked for one that runs, as nova-conductor and nova-compute would.

Run as a program, for Nova's configuration is of the process: ``python -m testbed.lab.nova_build SERVER HOST``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nova import monkey_patch

monkey_patch.patch(backend="threading")

from nova import config, context, objects  # noqa: E402  # Nova must choose its threads before all else
from nova.compute import vm_states  # noqa: E402
from oslo_utils import timeutils  # noqa: E402


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


if __name__ == "__main__":
    objects.register_all()
    config.parse_args([sys.argv[0]], default_config_files=[str(Path(os.environ["OS_NOVA_CONFIG_DIR"]) / "nova.conf")])
    build(*sys.argv[1:])

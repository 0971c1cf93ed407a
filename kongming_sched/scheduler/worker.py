# SPDX-License-Identifier: Apache-2.0
"""The snapshot of Placement that all filters and weighers of one nova-scheduler worker share."""

from __future__ import annotations

import nova.conf
from keystoneauth1 import exceptions as ksa_exceptions
from nova import exception as nova_exception
from nova import utils as nova_utils
from openstack import exceptions as sdk_exceptions

from kongming_sched import compat, exceptions
from kongming_sched.placement.client import PlacementClient
from kongming_sched.scheduler.announcement import Announcement
from kongming_sched.scheduler.snapshot import NodeSnapshot

CONF = nova.conf.CONF


def make_client() -> PlacementClient:
    """A client with the credentials of nova.conf.

    :raises PlacementUnavailable: if they do not lead to Placement
    """
    try:
        return PlacementClient(compat.admin_adapter(nova_utils.get_sdk_adapter, "placement"))
    except (
        nova_exception.NovaException,
        ksa_exceptions.ClientException,
        sdk_exceptions.SDKException,
    ) as error:
        raise exceptions.PlacementUnavailable("be found by [placement] of nova.conf", str(error)) from error


def make_snapshot() -> NodeSnapshot:
    """A snapshot with the options of nova.conf, whose first content is announced in the log. Reads no option yet."""
    return NodeSnapshot(
        make_client,
        lambda: float(CONF.kongming_scheduler.snapshot_ttl_seconds),
        announce=Announcement(lambda: CONF.filter_scheduler.enabled_filters),
    )


SNAPSHOT = make_snapshot()
"""The snapshot of all NUMA nodes that this worker's filters and weighers share."""

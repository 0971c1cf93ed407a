# SPDX-License-Identifier: Apache-2.0
"""What all filters and weighers of one nova-scheduler worker share."""

from __future__ import annotations

import socket

import nova.conf
from nova import exception as nova_exception
from nova import utils as nova_utils
from openstack import exceptions as sdk_exceptions
from oslo_concurrency import processutils

from kongming_sched import compat, exceptions
from kongming_sched.api.adapter import BoundedAdapter
from kongming_sched.api.bound import DEFAULT_SECONDS, Bound
from kongming_sched.api.faults import NO_ANSWER, words
from kongming_sched.placement.client import PlacementClient
from kongming_sched.scheduler.announcement import Announcement
from kongming_sched.scheduler.scheduler_worker import SchedulerWorker, worker_number
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.scheduler.under_way import UnderWay

CONF = nova.conf.CONF


def make_client() -> PlacementClient:
    """A client with the credentials of nova.conf, whose requests are given up after its ``[placement] timeout``.

    :raises PlacementUnavailable: if they do not lead to Placement
    """
    bound, seconds = Bound(), float(CONF.placement.timeout or DEFAULT_SECONDS)
    try:
        adapter = bound.run(lambda: compat.admin_adapter(nova_utils.get_sdk_adapter, "placement"), seconds)
    except (nova_exception.NovaException, sdk_exceptions.SDKException) as error:
        raise exceptions.PlacementUnavailable("be found by [placement] of nova.conf", str(error)) from error
    except NO_ANSWER as error:
        raise exceptions.PlacementUnavailable("be found by [placement] of nova.conf", words(error)) from error
    return PlacementClient(BoundedAdapter(adapter, seconds, bound))


def make_snapshot() -> NodeSnapshot:
    """A snapshot with the options of nova.conf, whose first content is announced in the log. Reads no option yet."""
    return NodeSnapshot(
        make_client,
        lambda: float(CONF.kongming_scheduler.snapshot_ttl_seconds),
        announce=Announcement(lambda: CONF.filter_scheduler.enabled_filters),
    )


SNAPSHOT = make_snapshot()
"""The snapshot of all NUMA nodes."""


def this_worker() -> SchedulerWorker:
    """This process among the workers of its controller, which are as many as nova-scheduler starts."""
    workers = CONF.scheduler.workers or processutils.get_worker_count()
    return SchedulerWorker(socket.gethostname(), worker_number(), workers)


UNDER_WAY = UnderWay(worker=this_worker)
"""What its requests take that the snapshot does not show yet."""

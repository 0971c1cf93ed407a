# SPDX-License-Identifier: Apache-2.0
"""Nova's own notifications, sent by Nova's own code over oslo.messaging's transport of this process."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from unittest import mock

from nova import context, objects, rpc
from nova.compute import utils as compute_utils
from nova.conf import CONF
from nova.network import model
from nova.notifications import base as notifications
from nova.objects import fields
from oslo_messaging._drivers import impl_fake
from oslo_utils import timeutils
from oslo_utils.fixture import TimeFixture

TRANSPORT = "fake:/"


@contextmanager
def nova_sends(notification_format: str, topic: str = "versioned_notifications") -> Iterator[None]:
    """Nova in this process, with an operator's nova.conf."""
    options = [
        ("transport_url", TRANSPORT, None),
        ("notification_format", notification_format, "notifications"),
        ("notify_on_state_change", "vm_state", "notifications"),
        ("versioned_notifications_topics", [topic], "notifications"),
        ("driver", ["messagingv2"], "oslo_messaging_notifications"),
    ]
    objects.register_all()
    rpc.set_defaults(control_exchange="nova")
    CONF([], project="nova", default_config_files=[])
    with mock.patch.dict(vars(impl_fake.FakeExchangeManager)["_exchanges"], clear=True):
        rpc.init(CONF)
        for name, value, group in options:
            CONF.set_override(name, value, group)
        rpc.cleanup()
        rpc.init(CONF)
        try:
            yield
        finally:
            rpc.cleanup()
            for name, _, group in options:
                CONF.clear_override(name, group)
            CONF.reset()  # the next test of this process may use Nova's own fixtures, which want it untouched


def instance(uuid: str, node: str, metadata: Mapping[str, str]) -> objects.Instance:
    """A server as nova-compute and nova-api hold it."""
    now = timeutils.utcnow()
    return objects.Instance(
        context.RequestContext("user", "project", is_admin=True),
        **dict.fromkeys(_UNSET),
        id=1,
        uuid=uuid,
        host=node,
        node=node,
        user_id="user",
        project_id="project",
        display_name="server",
        hostname="server",
        created_at=now,
        updated_at=now,
        launched_at=now,
        terminated_at=None,
        deleted_at=None,
        deleted=False,
        cleaned=False,
        vm_state="active",
        power_state=1,
        task_state=None,
        progress=0,
        memory_mb=512,
        root_gb=1,
        ephemeral_gb=0,
        cell_name=None,
        instance_type_id=1,
        locked=False,
        auto_disk_config=False,
        metadata=dict(metadata),
        system_metadata={},
        flavor=objects.Flavor(**_FLAVOR),
        tags=objects.TagList(),
        info_cache=objects.InstanceInfoCache(network_info=model.NetworkInfo()),
    )


_UNSET = (
    "reservation_id",
    "display_description",
    "os_type",
    "architecture",
    "availability_zone",
    "image_ref",
    "key_name",
    "kernel_id",
    "ramdisk_id",
    "config_drive",
    "access_ip_v4",
    "access_ip_v6",
)
_FLAVOR = {
    "flavorid": "1",
    "memory_mb": 512,
    "vcpus": 2,
    "root_gb": 1,
    "ephemeral_gb": 0,
    "name": "a-flavor",
    "swap": 0,
    "rxtx_factor": 1.0,
    "vcpu_weight": 1,
    "disabled": False,
    "is_public": True,
    "extra_specs": {},
    "projects": [],
    "description": None,
}


def update(uuid: str, node: str, metadata: Mapping[str, str], sent: datetime.datetime | None = None) -> None:
    """What a change of a server's metadata makes nova-api send."""
    server = instance(uuid, node, metadata)
    with _at(sent):
        notifications.send_update(server._context, server, server, service="api", host="controller")


def end_of(action: str, uuid: str, node: str, metadata: Mapping[str, str]) -> None:
    """What nova-compute sends at the end of an action."""
    server = instance(uuid, node, metadata)
    compute_utils.notify_about_instance_action(
        server._context,
        server,
        node,
        action=action,
        phase=fields.NotificationPhase.END,
        bdms=objects.BlockDeviceMappingList(),
    )
    compute_utils.notify_about_instance_usage(
        rpc.get_notifier("compute", node), server._context, server, f"{action}.end"
    )


@contextmanager
def _at(moment: datetime.datetime | None) -> Iterator[None]:
    """Nova's clock, for a while."""
    with TimeFixture(moment) if moment is not None else nullcontext():
        yield

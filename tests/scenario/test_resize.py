# SPDX-License-Identifier: Apache-2.0
"""A server that is resized from a template to none, to another template, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kongming_sched.template import PinningTemplate
from tests.scenario.cloud import PREFIX, Cloud
from tests.scenario.views import is_pinned_for_good

RAM_MB = 64
DEDICATED = PinningTemplate.from_mapping(
    {"name": "scenario_resize_dedicated", "cells": [{"vcpus": "0", "cpus": "dedicated"}]}
)
SHARED = PinningTemplate.from_mapping(
    {"name": "scenario_resize_shared", "cells": [{"vcpus": "0", "cpus": "shared"}], "emulator": "cell"}
)
PLAIN = f"{PREFIX}resize-plain"


@dataclass(frozen=True)
class Resizable:
    """A server of the dedicated template.

    :ivar flavors: by template; None is a flavor without one
    """

    cloud: Cloud
    server: str
    flavors: dict[PinningTemplate | None, Any]

    def resize(self, template: PinningTemplate | None) -> None:
        """Resize it, but neither confirm nor revert that."""
        self.cloud.compute.resize_server(self.server, self.flavors[template].id)
        self.cloud.wait_for_status(self.server, "VERIFY_RESIZE")

    def confirm(self) -> None:
        """Confirm the last resize."""
        self.cloud.compute.confirm_server_resize(self.server)
        self.cloud.wait_for_status(self.server, "ACTIVE")

    def revert(self) -> None:
        """Revert the last resize."""
        self.cloud.compute.revert_server_resize(self.server)
        self.cloud.wait_for_status(self.server, "ACTIVE")

    def check(self, template: PinningTemplate | None) -> None:
        """See in all views that it is as a template says, or as Nova leaves a server without one."""
        if template:
            self.cloud.wait_until_right(self.server, template)
            return
        views = self.cloud.views(self.server)
        everywhere = self.cloud.hosts.cpus(views.host).online
        kernel = views.kernel
        assert kernel
        assert ({}, {}, {0: everywhere}) == (views.nodes, views.io_pins, kernel.vcpus)
        assert (everywhere, {1: everywhere}) == (kernel.emulator, kernel.iothreads)
        assert not is_pinned_for_good(self.cloud.hosts.libvirts[views.host], self.server)


@pytest.fixture
def resizable(cloud: Cloud) -> Iterator[Resizable]:
    """A server of the dedicated template, on one of two hosts."""
    if cloud.plan is None or len(cloud.plan.libvirt_hosts) < 2:
        pytest.skip("the cloud has less than two hosts with libvirt; tools/cloud up --libvirt-hosts 2 makes two")
    hosts = cloud.hosts.names(emulated=False)
    flavors: dict[PinningTemplate | None, Any] = {}
    for template in (DEDICATED, SHARED):
        cloud.make_template(template, hosts)
        cloud.wait_for("both offer it", lambda template=template: len(cloud.offering(template.name)) == len(hosts))
        flavors[template] = cloud.make_flavor(template, RAM_MB, cloud.hosts.cpus(hosts[0]).threads_per_core)
    cloud.delete_flavor(PLAIN)
    flavors[None] = cloud.compute.create_flavor(name=PLAIN, ram=RAM_MB, vcpus=1, disk=1)
    (server,) = cloud.create_server("resize", flavors[DEDICATED])
    yield Resizable(cloud, server.id, flavors)
    cloud.delete_all()
    for flavor in flavors.values():
        cloud.compute.delete_flavor(flavor)
    for template in (DEDICATED, SHARED):
        cloud.templates.delete(template.name)
        cloud.wait_for("none offers it any more", lambda template=template: not cloud.offering(template.name))


def test_to_none_to_another_and_back(resizable: Resizable) -> None:
    """It has the pins of each template at once, none of either without one, and those of the first after a revert."""
    resizable.check(DEDICATED)
    for template in (None, SHARED, DEDICATED):
        resizable.resize(template)
        resizable.confirm()
        resizable.check(template)

    resizable.resize(None)
    resizable.revert()

    resizable.check(DEDICATED)

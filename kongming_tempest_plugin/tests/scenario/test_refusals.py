# SPDX-License-Identifier: Apache-2.0
"""Servers that cannot be had are refused, and take nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempest.lib import decorators

from kongming_sched.placement import names
from kongming_sched.request import GROUP, TEMPLATE_KEY
from kongming_sched.template import PinningTemplate
from kongming_tempest_plugin.tests import base

NO_HOST = "No valid host was found"


class RefusalsTest(base.BaseKongmingTest):
    """The scheduler finds no host for a flavor that cannot be honoured."""

    template: PinningTemplate

    @classmethod
    def resource_setup(cls) -> None:
        """Make a template that hosts offer."""
        super().resource_setup()
        cls.template = cls.template_of("any")
        cls.store(cls.template)

    def assert_no_host(self, flavor: Mapping[str, Any]) -> None:
        """A server of this flavor fails because there is no host for it."""
        server = self.make_server(flavor, "ERROR")

        shown = self.servers_client.show_server(server)["server"]
        self.assertIn(NO_HOST, shown["fault"]["message"])
        self.assertEqual({}, self.placement.claims(server))

    @decorators.idempotent_id("ea93afa6-4966-44bb-acc5-f20f82e97bdc")
    def test_no_such_template(self) -> None:
        """A server of a template that does not exist gets no host."""
        self.assert_no_host(self.flavor_of(self.template_of("any"), self.flavor_ref))

    @decorators.idempotent_id("2620f229-5821-4f4e-9ccd-f5dece75fb43")
    def test_template_without_groups(self) -> None:
        """A server whose flavor names a template and takes nothing of a node gets no host: it could land anywhere."""
        model = self.flavors_client.show_flavor(self.flavor_ref)["flavor"]
        self.assert_no_host(self.flavor_with({TEMPLATE_KEY: self.template.name}, self.template.vcpus, model))

    @decorators.idempotent_id("42f7e929-c7d2-45c6-8849-a97c8f357178")
    def test_groups_without_the_templates_trait(self) -> None:
        """Not of a flavor that would land where the template is not offered."""
        model = self.flavors_client.show_flavor(self.flavor_ref)["flavor"]
        specs = {TEMPLATE_KEY: self.template.name, "resources:VCPU": "0", f"resources{GROUP}0:{names.PCPU}": "1"}
        self.assert_no_host(self.flavor_with(specs, self.template.vcpus, model))

    @decorators.idempotent_id("62cca673-48c7-4af7-adf0-56b9fc05b635")
    def test_no_room(self) -> None:
        """Not of a flavor that takes one host CPU more than any NUMA node has."""
        most = max(node.capacity.get(names.PCPU, 0) for node in self.placement.node_summaries())
        more = {f"resources{GROUP}0:{names.PCPU}": str(most + 1)}
        self.assert_no_host(self.flavor_of(self.template, self.flavor_ref, **more))

# SPDX-License-Identifier: Apache-2.0
"""Templates in Placement, and the hosts that offer them."""

from __future__ import annotations

from tempest.lib import decorators

from kongming_sched import exceptions
from kongming_tempest_plugin.tests import base


class TemplatesTest(base.BaseKongmingTest):
    """An administrator stores and deletes templates."""

    @decorators.idempotent_id("6bd1ea12-d8d8-43b4-8f38-fe079b8d0222")
    def test_a_template_reads_back_as_it_was_stored(self) -> None:
        """Placement keeps every clause, and the name is taken."""
        template = self.template_of("any")
        self.store(template)

        self.assertEqual(template, self.templates.get(template.name).template)
        self.assertRaises(exceptions.TemplateExists, self.templates.create, template)

    @decorators.idempotent_id("4b7c91f1-7830-4fa2-8c4f-72a31130dacf")
    def test_hosts_take_back_what_is_deleted(self) -> None:
        """No host goes on to offer a template that is not there any more."""
        template = self.template_of("any")
        self.store(template)

        self.forget(template)

        self.assertEqual([], self.placement.offering(template.name))
        self.assertRaises(exceptions.TemplateNotFound, self.templates.get, template.name)

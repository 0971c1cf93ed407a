# SPDX-License-Identifier: Apache-2.0
"""nova-api checks the extra specs of KongMing."""

from __future__ import annotations

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from kongming_sched.request import STRATEGY_KEY, TEMPLATE_KEY, NumaStrategy
from kongming_tempest_plugin.tests import base


class FlavorExtraSpecsTest(base.BaseKongmingTest):
    """What no flavor can mean is refused when it is written, and not when a server is made."""

    min_microversion = "2.86"

    @classmethod
    def resource_setup(cls) -> None:
        """Make a flavor."""
        super().resource_setup()
        model = cls.flavors_client.show_flavor(cls.flavor_ref)["flavor"]
        cls.flavor = cls.flavor_with({}, 1, model)

    def assert_refused(self, key: str, value: str) -> None:
        """Nova answers 400 and the flavor stays as it was."""
        client, flavor = self.admin_flavors_client, self.flavor["id"]
        before = client.list_flavor_extra_specs(flavor)["extra_specs"]

        self.assertRaises(lib_exc.BadRequest, client.set_flavor_extra_spec, flavor, **{key: value})

        self.assertEqual(before, client.list_flavor_extra_specs(flavor)["extra_specs"])

    @decorators.idempotent_id("659a734f-c443-452d-8479-105138163be2")
    def test_what_kongming_writes(self) -> None:
        """Nova takes all keys of a template, and the strategy."""
        template = self.template_of("any")
        specs = {STRATEGY_KEY: str(NumaStrategy.SPREAD)}

        flavor = self.flavor_of(template, self.flavor_ref, **specs)

        written = self.admin_flavors_client.list_flavor_extra_specs(flavor["id"])["extra_specs"]
        self.assertEqual(template.name, written[TEMPLATE_KEY])

    @decorators.idempotent_id("3b551d6f-da8e-4c59-9104-75b685546a2a")
    def test_template_that_is_no_name(self) -> None:
        """A template's name has small letters, digits and _ alone."""
        self.assert_refused(TEMPLATE_KEY, "Gold!")

    @decorators.idempotent_id("50181a58-02ba-417f-8989-fe31fa654c8a")
    def test_strategy_that_is_none(self) -> None:
        """There are three strategies."""
        self.assert_refused(STRATEGY_KEY, "best")

    @decorators.idempotent_id("5c746cf9-2748-4979-9ef1-367248d57a94")
    def test_key_that_is_unknown(self) -> None:
        """A key that is misspelt does not pass in silence."""
        self.assert_refused("kongming:templates", "gold")

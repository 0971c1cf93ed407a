# SPDX-License-Identifier: Apache-2.0
"""Everything that can happen to a server of a template through the API."""

from __future__ import annotations

from typing import Any

import testtools
from tempest import config
from tempest.common import compute, waiters
from tempest.lib import decorators

from kongming_sched.template import PinningTemplate
from kongming_tempest_plugin.templates import threads_per_core
from kongming_tempest_plugin.tests import base
from kongming_tempest_plugin.view import View, faults, leftovers, read_view

CONF = config.CONF
FEATURES = CONF.compute_feature_enabled

NEEDS_RESIZE = testtools.skipUnless(FEATURES.resize, "tempest.conf says that servers cannot be resized")
NEEDS_TWO_HOSTS = testtools.skipIf(CONF.compute.min_compute_nodes < 2, "tempest.conf says that there is one host")


class ServerActionsBase(base.BaseKongmingTest):
    """One server of a template, with which one action after the other is tried.

    After each of them Nova and Placement must agree: the server has exactly what its flavor asks for, of the NUMA nodes
    of the host that it is on, and nothing anywhere else.

    :cvar kind: the template, by its name in ``templates.CELLS``
    """

    kind: str
    template: PinningTemplate
    threads_per_core: int
    flavor: dict[str, Any]
    other_flavor: dict[str, Any]
    server: str = ""
    is_spoilt: bool = False

    @classmethod
    def resource_setup(cls) -> None:
        """Make the template and two flavors that differ in memory."""
        super().resource_setup()
        cls.template = cls.template_of(cls.kind)
        cls.threads_per_core = threads_per_core(cls.placement.node_summaries())
        cls.store(cls.template)
        cls.flavor = cls.flavor_of(cls.template, cls.flavor_ref)
        cls.other_flavor = cls.flavor_of(cls.template, cls.flavor_ref_alt)

    def setUp(self) -> None:
        """Take the server that the last test has left, or a new one if something went wrong with that one."""
        super().setUp()
        self.addOnException(self._spoil)
        if self.is_spoilt:
            self.unmake_server(self.server)
            type(self).server, type(self).is_spoilt = "", False
        if not self.server:
            type(self).server = self.make_server(self.flavor, "ACTIVE")

    def _spoil(self, _exc_info: object) -> None:
        type(self).is_spoilt = bool(self.server)

    # What is seen

    def _show(self) -> dict[str, Any]:
        """The server as the administrator sees it."""
        server: dict[str, Any] = self.admin_servers_client.show_server(self.server)["server"]
        return server

    def _host(self) -> str:
        return str(self._show()["OS-EXT-SRV-ATTR:hypervisor_hostname"])

    def _view(self) -> View:
        known = self.os_admin.migrations_client.list_migrations(instance_uuid=self.server)["migrations"]
        return read_view(self.placement, self.server, self._host(), [migration["uuid"] for migration in known])

    def _claim_faults(self) -> list[str]:
        memory_mb = self._show()["flavor"]["ram"]
        return faults(self._view(), self.template, memory_mb, self.threads_per_core)

    def _wrong(self) -> list[str]:
        return self._claim_faults() + leftovers(self._view())

    def check_claim(self) -> None:
        """The server has what its flavor asks for, where it is."""
        self.wait_until(lambda: not self._claim_faults())
        self.assertEqual([], self._claim_faults())

    def check(self) -> None:
        """The server has what its flavor asks for, where it is, and its migrations have nothing."""
        self.wait_until(lambda: not self._wrong())
        self.assertEqual([], self._wrong())

    def wait_for(self, state: str) -> None:
        """Wait until the server has a state and nothing is under way."""
        waiters.wait_for_server_status(self.servers_client, self.server, state)

    # What happens

    @decorators.idempotent_id("d30fcc07-3bf8-4331-997c-f4436e311882")
    def test_create(self) -> None:
        """A new server has what its flavor asks for."""
        self.check()

    @decorators.idempotent_id("aeab6333-3278-4fe1-8684-d2dc3ec8a1c1")
    def test_delete(self) -> None:
        """A server that is deleted leaves nothing in Placement."""
        server, type(self).server = self.server, ""

        self.unmake_server(server)

        self.wait_until(lambda: not self.placement.claims(server))
        self.assertEqual({}, self.placement.claims(server))

    @decorators.idempotent_id("00c61398-8c94-4057-9fc7-b0177b1c2922")
    def test_stop_and_start(self) -> None:
        """A server that is stopped keeps its place."""
        before = self._view()
        self.servers_client.stop_server(self.server)
        self.wait_for("SHUTOFF")
        self.check()

        self.servers_client.start_server(self.server)
        self.wait_for("ACTIVE")

        self.check()
        self.assertEqual(before, self._view())

    @decorators.idempotent_id("37505cab-b3f1-4764-9ed3-b1bf90497b0b")
    def test_soft_reboot(self) -> None:
        """A server keeps its place."""
        self._reboot("SOFT")

    @decorators.idempotent_id("144665f9-49d4-4fe8-bf2c-cd59cf0a0686")
    def test_hard_reboot(self) -> None:
        """A server keeps its place though its guest is made anew."""
        self._reboot("HARD")

    def _reboot(self, kind: str) -> None:
        before = self._view()

        self.servers_client.reboot_server(self.server, type=kind)
        self.wait_for("ACTIVE")

        self.check()
        self.assertEqual(before, self._view())

    @decorators.idempotent_id("c3519307-3588-46d2-9ac8-ebfa3b061842")
    @testtools.skipUnless(FEATURES.pause, "tempest.conf says that servers cannot be paused")
    def test_pause_and_unpause(self) -> None:
        """A server that is paused keeps its place."""
        self.servers_client.pause_server(self.server)
        self.wait_for("PAUSED")
        self.check()

        self.servers_client.unpause_server(self.server)
        self.wait_for("ACTIVE")

        self.check()

    @decorators.idempotent_id("ed7a2aae-e1b7-46f7-91fe-56f4dcd4ca2b")
    @testtools.skipUnless(FEATURES.suspend, "tempest.conf says that servers cannot be suspended")
    def test_suspend_and_resume(self) -> None:
        """A server that is suspended keeps its place."""
        self.servers_client.suspend_server(self.server)
        self.wait_for("SUSPENDED")
        self.check()

        self.servers_client.resume_server(self.server)
        self.wait_for("ACTIVE")

        self.check()

    @decorators.idempotent_id("c3eb2da4-38a5-4eeb-a25b-57934370e801")
    def test_rebuild(self) -> None:
        """A server that is rebuilt keeps its place."""
        before = self._view()

        self.servers_client.rebuild_server(self.server, self.image_ref)
        self.wait_for("ACTIVE")

        self.check()
        self.assertEqual(before, self._view())

    @decorators.idempotent_id("5843164c-ca7b-4086-aeca-8235fd36213f")
    @testtools.skipUnless(FEATURES.shelve, "tempest.conf says that servers cannot be shelved")
    def test_shelve_and_unshelve(self) -> None:
        """A server that is shelved gives its place back, and has one again when it is unshelved."""
        compute.shelve_server(self.servers_client, self.server, force_shelve_offload=True)
        self.wait_until(lambda: not self.placement.claims(self.server))
        self.assertEqual({}, self.placement.claims(self.server))

        self.servers_client.unshelve_server(self.server)
        self.wait_for("ACTIVE")

        self.check()

    # What moves it

    def _resize(self) -> dict[str, Any]:
        """Resize to that flavor which it does not have; gives the one that it had."""
        now = self._show()["flavor"]["original_name"]
        before, after = self.flavor, self.other_flavor
        if now == after["name"]:
            before, after = after, before
        self.servers_client.resize_server(self.server, after["id"])
        self.wait_for("VERIFY_RESIZE")
        self.check_claim()
        return before

    @decorators.idempotent_id("ccc3a33c-92b2-4f25-ae5f-9a258e3e14e4")
    @NEEDS_RESIZE
    def test_resize_and_confirm(self) -> None:
        """A server has what its new flavor asks for, and gives back what it had."""
        self._resize()

        self.servers_client.confirm_resize_server(self.server)
        self.wait_for("ACTIVE")

        self.check()

    @decorators.idempotent_id("e6b0b540-8e7a-4c17-befb-85094f9c46d7")
    @NEEDS_RESIZE
    def test_resize_and_revert(self) -> None:
        """A server has again the very place that it had."""
        before = self._view()
        flavor = self._resize()

        self.servers_client.revert_resize_server(self.server)
        self.wait_for("ACTIVE")

        self.check()
        self.assertEqual(flavor["name"], self._show()["flavor"]["original_name"])
        self.assertEqual(before, self._view())

    @decorators.idempotent_id("460e534e-11a1-44e3-b533-758201cc2cc9")
    @testtools.skipUnless(FEATURES.cold_migration, "tempest.conf says that servers cannot be migrated cold")
    @NEEDS_TWO_HOSTS
    def test_cold_migrate(self) -> None:
        """A server has its place on the host to which it was migrated, and none on the one where it was."""
        before = self._host()
        self.admin_servers_client.migrate_server(self.server)
        self.wait_for("VERIFY_RESIZE")
        self.check_claim()

        self.servers_client.confirm_resize_server(self.server)
        self.wait_for("ACTIVE")

        self.assertNotEqual(before, self._host())
        self.check()

    @decorators.idempotent_id("6dd5f46b-d637-427f-b346-983bfb9dd19b")
    @testtools.skipUnless(FEATURES.live_migration, "tempest.conf says that servers cannot be migrated live")
    @NEEDS_TWO_HOSTS
    def test_live_migrate(self) -> None:
        """A server that was migrated while it ran has its place on the new host, and none on the old one."""
        before = self._host()

        self.admin_servers_client.live_migrate_server(self.server, host=None, block_migration="auto")
        self.wait_for("ACTIVE")

        self.assertNotEqual(before, self._host())
        self.check()

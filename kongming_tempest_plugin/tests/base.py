# SPDX-License-Identifier: Apache-2.0
"""What all tests share: clients, templates, flavors, and servers without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tempest import config
from tempest.api.compute import base
from tempest.common import waiters
from tempest.lib.common import rest_client
from tempest.lib.common.utils import data_utils, test_utils

from kongming_sched import exceptions
from kongming_sched.placement.flavor import extra_specs
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.template import PinningTemplate
from kongming_tempest_plugin.placement import Placement, TempestAdapter
from kongming_tempest_plugin.templates import make_template, obstacle, threads_per_core

CONF = config.CONF


class BaseKongmingTest(base.BaseV2ComputeAdminTest):
    """An administrator who makes templates and flavors, and a user who makes servers."""

    credentials = ("primary", "admin")
    min_microversion = "2.59"
    """Servers without a network need 2.37 and later, ids of migrations 2.59."""

    placement: Placement
    templates: TemplateStore

    @classmethod
    def skip_checks(cls) -> None:
        """Run where KongMing is."""
        super().skip_checks()
        for service in ("kongming", "glance"):
            if not CONF.service_available[service]:
                raise cls.skipException(f"tempest.conf says that {service} is not available")

    @classmethod
    def setup_clients(cls) -> None:
        """Reach Placement as the administrator."""
        super().setup_clients()
        settings = config.service_client_config("placement")
        cls.placement = Placement(TempestAdapter(rest_client.RestClient(cls.os_admin.auth_provider, **settings)))
        cls.templates = TemplateStore(cls.placement)

    @classmethod
    def wait_until(cls, is_so: Callable[[], bool]) -> bool:
        """Whether something comes true within ``[kongming] settle_seconds``."""
        return bool(test_utils.call_until_true(is_so, CONF.kongming.settle_seconds, 1))

    @classmethod
    def template_of(cls, kind: str) -> PinningTemplate:
        """A template of a kind with a name of its own, which is not stored yet.

        Skips the test if the cloud's hosts cannot have it.
        """
        name = data_utils.rand_name(kind, prefix="tempest").replace("-", "_")
        template = make_template(kind, name, CONF.kongming.explicit_cpus)
        if template is None:
            raise cls.skipException("[kongming] explicit_cpus names no host CPUs")
        if reason := obstacle(template, cls.placement.node_summaries()):
            raise cls.skipException(reason)
        return template

    @classmethod
    def store(cls, template: PinningTemplate) -> None:
        """Store a template until the end of the class, and wait until a host offers it."""
        cls.addClassResourceCleanup(cls.forget, template)
        cls.templates.create(template)
        if not cls.wait_until(lambda: bool(cls.placement.offering(template.name))):
            raise AssertionError(
                f"no host offers template {template.name} after {CONF.kongming.settle_seconds} s;"
                " the log of kongming-agent says why"
            )

    @classmethod
    def forget(cls, template: PinningTemplate) -> None:
        """Delete a template, and wait until the hosts have taken note, for they may set CPUs aside for it."""
        try:
            cls.templates.delete(template.name)
        except exceptions.TemplateNotFound:
            return
        if not cls.wait_until(lambda: not cls.placement.has_traces(template.name)):
            raise AssertionError(f"a host still offers template {template.name}, which is deleted")
        if template.host_cpus:
            cls.placement.forget_slot_class(template.name)

    @classmethod
    def flavor_of(cls, template: PinningTemplate, like: str, **more: str) -> dict[str, Any]:
        """A flavor of a template until the end of the class.

        :param like: the flavor whose memory and disk it has
        :param more: extra specs that it has in place of those that KongMing would write, or beside them
        """
        threads = threads_per_core(cls.placement.node_summaries())
        model = cls.flavors_client.show_flavor(like)["flavor"]
        specs = extra_specs(template, {}, vcpus=template.vcpus, memory_mb=model["ram"], threads_per_core=threads)
        return cls.flavor_with({**specs, **more}, template.vcpus, model)

    @classmethod
    def flavor_with(cls, specs: Mapping[str, str], vcpus: int, model: Mapping[str, Any]) -> dict[str, Any]:
        """A flavor with extra specs, and otherwise like another one, until the end of the class."""
        client = cls.admin_flavors_client
        name = data_utils.rand_name("kongming-flavor", prefix=CONF.resource_name_prefix)
        flavor: dict[str, Any] = client.create_flavor(name=name, ram=model["ram"], vcpus=vcpus, disk=model["disk"])[
            "flavor"
        ]
        cls.addClassResourceCleanup(test_utils.call_and_ignore_notfound_exc, client.delete_flavor, flavor["id"])
        if specs:
            client.set_flavor_extra_spec(flavor["id"], **specs)
        return flavor

    @classmethod
    def make_server(cls, flavor: Mapping[str, Any], state: str) -> str:
        """The id of a new server, once it has a state."""
        server: str = cls.create_test_server(flavor=flavor["id"], networks="none")["id"]
        waiters.wait_for_server_status(cls.servers_client, server, state, raise_on_error=state != "ERROR")
        return server

    @classmethod
    def unmake_server(cls, server: str) -> None:
        """Delete a server and wait until it is gone."""
        test_utils.call_and_ignore_notfound_exc(cls.servers_client.delete_server, server)
        waiters.wait_for_server_termination(cls.servers_client, server, ignore_error=True)

# SPDX-License-Identifier: Apache-2.0
"""What the demonstration's operator does: the real commands, and what Placement then says."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
import yaml

from kongming_sched.placement import names
from testbed.lab.demo_setup import Template
from testbed.lab.lab import Lab
from testbed.lab.placement_api import TOKEN
from testbed.lab.screen import Screen

MEMORY_MB = 64


class Commands:
    """Runs commands on the screen; what it only reads it does not show."""

    def __init__(self, lab: Lab, screen: Screen) -> None:
        self._lab = lab
        self._screen = screen

    def create_template(self, template: Template) -> None:
        """Store a template."""
        self._run("kongming", "template", "create", "--file", self.write(template), "-c", "name", "-c", "cells")

    def change_template(self, template: Template, status: int = 0) -> None:
        """Change a template that exists."""
        path = self.write(template)
        self._run("kongming", "template", "set", str(template["name"]), "--file", path, status=status)

    def create_flavor(self, name: str, vcpus: int, template: str | None = None) -> None:
        """Make a flavor, and let it ask for a template."""
        size = ["--vcpus", str(vcpus), "--ram", str(MEMORY_MB), "--disk", "0"]
        self._run("flavor", "create", name, *size, "-c", "name", "-c", "vcpus", "-c", "ram")
        if template:
            self._run("kongming", "flavor", "set", name, "--template", template)

    def show_host(self) -> None:
        """The host map, without the CPUs on which nobody is."""
        self._screen.run("kongming-host", "map", "--config-file", self._lab.agent_conf)

    def show_inventory(self, node_id: int) -> None:
        """What a node has."""
        columns = ("-c", "resource_class", "-c", "total", "-c", "allocation_ratio", "-c", "used")
        self._run("resource", "provider", "inventory", "list", self._lab.node_uuid(node_id), *columns)

    def show_usage(self, node_id: int) -> None:
        """What of a node is taken."""
        self._run("resource", "provider", "usage", "show", self._lab.node_uuid(node_id))

    def show_allocation(self, server: str) -> None:
        """What a server has."""
        self._run("resource", "provider", "allocation", "show", server, "-c", "resource_provider", "-c", "resources")

    def show(self, *words: str) -> None:
        """Any other ``openstack`` command."""
        self._run(*words)

    def await_offered(self, template: str, node_ids: list[int]) -> None:
        """State that these nodes offer a template."""
        self._screen.await_claim(
            f"{template} is offered by node {', '.join(map(str, node_ids))}",
            lambda: [node.id for node in self._lab.topology.nodes if self.is_offered(template, node.id)],
            lambda offering: offering == node_ids,
        )

    def is_offered(self, template: str, node_id: int) -> bool:
        """Whether a node has a template's trait."""
        return names.template_trait(template) in self._ask(node_id, "traits")

    def total(self, node_id: int, resource_class: str) -> int:
        """How much of a class a node has; 0 if there is no such node yet."""
        inventory = self._ask(node_id, "inventories").get(resource_class)
        return int(inventory["total"]) if inventory else 0

    def free(self, node_id: int, resource_class: str) -> int:
        """How much of it is left."""
        return self.total(node_id, resource_class) - self.used(node_id).get(resource_class, 0)

    def used(self, node_id: int) -> dict[str, int]:
        """What is taken of each class of a node."""
        return dict(self._ask(node_id, "usages"))

    def write(self, template: Template) -> Path:
        """Write a template's file, and show it."""
        path = self._lab.directory / f"{template['name']}.yaml"
        path.write_text(yaml.safe_dump(template, sort_keys=False))
        self._screen.file(path)
        return path

    def _ask(self, node_id: int, what: str) -> Any:
        """Placement's own word on a node; empty if there is no such node yet."""
        url = f"{self._lab.placement.endpoint}/resource_providers/{self._lab.node_uuid(node_id)}/{what}"
        headers = {"X-Auth-Token": TOKEN, "OpenStack-API-Version": "placement 1.36"}
        answer = requests.get(url, headers=headers, timeout=60)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return {}
        answer.raise_for_status()
        return answer.json()[what]

    def _run(self, *words: str | Path, status: int = 0) -> None:
        self._screen.run("openstack", *words, status=status)

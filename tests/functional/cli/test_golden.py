# SPDX-License-Identifier: Apache-2.0
"""Every command's help, empty, successful and failing output, as it stands in ``golden/``.

``KONGMING_RENEW=1 pytest tests/functional/cli/test_golden.py`` writes these files anew.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kongming_sched.placement import names
from testbed.lab.nova_api import NovaApi
from testbed.topologies import one_node_no_smt, two_nodes_smt2
from tests.functional.cli.conftest import Nova, cloud_shell, paging_nova, register_host
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import state_of
from tests.functional.cli.transcripts import EMPTY, FILES, FULL
from tests.functional.conftest import PlacementService, running_placement
from tests.functional.transcript import check_schema, golden, transcript
from tests.unit.test_packaging import setup_cfg

GOLDEN = Path(__file__).parent / "golden"
RACK = "a99e0000-0000-4000-8000-000000000001"
SERVERS = {"web": "5e00e000-0000-4000-8000-00000000000a", "db": "5e00e000-0000-4000-8000-00000000000b"}
"""The ids that stand in the files for those that Nova draws."""
FLAVORS = {"id-m1.gold": "gold", "id-m1.exact": "exact", "id-m1.wrong": "gold", "id-plain": None}
"""The ids of flavors, and their templates; what precedes the name is the same in all."""


@dataclass(frozen=True)
class OwnNova:
    """A Nova of this module's own: the servers of other tests would be listed too.

    :ivar servers: name to id
    """

    api: NovaApi
    client: Nova
    servers: dict[str, str]
    rack: str


@pytest.fixture(scope="module")
def own_nova(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnNova]:
    """Two running servers, and an aggregate."""
    with paging_nova(tmp_path_factory.mktemp("nova")) as api:
        client = Nova(api.endpoint)
        rack = client.call("POST", "/os-aggregates", aggregate={"name": "rack1", "availability_zone": None})
        servers = {}
        for name, template in (("web", "pair"), ("db", "exact")):
            flavor = client.create_flavor(f"of-{name}", 2, 512, specs={"kongming:template": template})
            servers[name] = client.create_server(name, flavor)
            api.build(servers[name], "c1" if name == "web" else "c2")
        client.clear()
        yield OwnNova(api, client, servers, rack["aggregate"]["uuid"])


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Run where the files of templates are, on a terminal of 80 columns."""
    for name, content in FILES.items():
        (path / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("COLUMNS", "80")
        yield


@pytest.fixture(scope="module")
def empty_transcripts(own_nova: OwnNova, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command says of a cloud without anything but the servers."""
    path = tmp_path_factory.mktemp("empty")
    with folder(path), running_placement() as placement:
        openstack = cloud_shell(path, placement.endpoint, own_nova.client.endpoint)
        return {command: run(openstack, command, lines) for command, lines in EMPTY.items()}


@dataclass
class Stage:
    """A cloud with hosts, templates, flavors and servers, which is built anew once a command has changed it."""

    nova: OwnNova
    placement: PlacementService | None = None
    built: object = None
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def open(self, path: Path) -> Shell:
        """Build the cloud if it is not there; gives its ``openstack`` command, whose files are in this folder."""
        if self.placement is None:
            self.placement = self.closing.enter_context(running_placement())
            self.closing.callback(self._clear_nova)
        openstack = cloud_shell(path, self.placement.endpoint, self.nova.client.endpoint)
        if self.built is None:
            build(openstack, self.placement, self.nova)
            self.built = self._state()
        return openstack

    def close_if_changed(self) -> None:
        """Take the cloud down unless Placement and Nova are as they were built."""
        if self.built is None or self.built != self._state():
            self.close()

    def close(self) -> None:
        """Take the cloud down."""
        self.placement = self.built = None
        self.closing.close()

    def _state(self) -> object:
        """All of Placement and Nova that a command may change."""
        assert self.placement
        placement, nova, servers = self.placement.client, self.nova.client, self.nova.servers.values()
        claims = [(placement.claim(server), nova.metadata(server)) for server in servers]
        return state_of(placement), claims, {flavor: nova.extra_specs(flavor) for flavor in FLAVORS}

    def _clear_nova(self) -> None:
        self.nova.client.clear()
        for server in self.nova.servers.values():
            for key in self.nova.client.metadata(server):
                self.nova.client.call("DELETE", f"/servers/{server}/metadata/{key}")


@pytest.fixture(scope="module")
def stage(own_nova: OwnNova, empty_transcripts: dict[str, str]) -> Iterator[Stage]:  # noqa: ARG001  # which come before
    stage = Stage(own_nova)
    yield stage
    stage.close()


def build(openstack: Shell, placement: PlacementService, nova: OwnNova) -> None:
    """Templates, hosts, flavors that are right and wrong, and the servers' claims."""
    register = functools.partial(register_host, placement)
    for name in ("gold", "pair", "exact", "unused"):
        aggregate = ["--aggregate", nova.rack] if name == "exact" else []
        assert openstack("kongming template create --file", f"{name}.yaml", *aggregate).code == 0
    roots = {name: register(name, two_nodes_smt2()) for name in ("c1", "c2")}
    for root in roots.values():
        (provider,) = placement.client.providers(uuid=root)
        placement.client.set_aggregates(root, provider.generation, [nova.rack])
    roots |= {"c3": register("c3", one_node_no_smt())}
    for name in roots:
        register(name, one_node_no_smt() if name == "c3" else two_nodes_smt2())
    placement.add_host("bare", "ba4e0000-0000-4000-8000-000000000001")
    assert openstack("kongming host disable c3").code == 0
    for flavor, template in FLAVORS.items():
        name = flavor.removeprefix("id-")
        nova.client.create_flavor(name, 2, 512, flavor_id=flavor)
        assert not template or openstack("kongming flavor set", name, "--template", template).code == 0
    wrong = {"resources_KONGMING0:CUSTOM_KONGMING_PCPU": "3"}
    nova.client.call("POST", "/flavors/id-m1.wrong/os-extra_specs", extra_specs=wrong)
    claims = {"web": {names.PCPU: 2, names.MEMORY_MB: 512}, "db": {names.slot_class("exact"): 1, names.MEMORY_MB: 512}}
    for (server, claim), host in zip(claims.items(), ("c1", "c2"), strict=True):
        node = names.node_uuid(roots[host], 0)
        placement.allocate(nova.servers[server], {roots[host]: {"MEMORY_MB": 512}, node: claim})
    metadata = {"kongming:cpus": "0:3;1:11"}
    nova.client.call("POST", f"/servers/{nova.servers['web']}/metadata", metadata=metadata)


def run(openstack: Shell, command: str, lines: list[str]) -> str:
    """The transcript of these lines."""
    text = ""
    for words in lines:
        done = openstack(f"kongming {command}", *shlex.split(words))
        check_schema("change" if "--dry-run" in words else command.replace(" ", "-"), words, done)
        text += transcript(f"openstack kongming {command} {words}", done)
    return text


@pytest.mark.parametrize("command", FULL)
def test_output_is_as_it_was_reviewed(
    stage: Stage, empty_transcripts: dict[str, str], tmp_path: Path, command: str
) -> None:
    """Word for word; what is printed as JSON is valid against its published schema."""
    try:
        with folder(tmp_path):
            openstack = stage.open(tmp_path)
            text = run(openstack, command, ["--help"])
            if command in EMPTY:
                text += "-- in a cloud without anything\n\n" + empty_transcripts[command]
            text += "-- in a cloud with hosts, templates, flavors and servers\n\n"
            text += run(openstack, command, FULL[command])
    finally:
        stage.close_if_changed()
    for name, server in stage.nova.servers.items():
        text = text.replace(server, SERVERS[name])
    text = text.replace(stage.nova.rack, RACK)
    assert text == golden(GOLDEN / f"{command.replace(' ', '-')}.txt", text)


def test_every_command_has_a_golden_file() -> None:
    """And no file is of a command that is gone."""
    section = setup_cfg()["entry_points"]["openstack.kongming.v1"]
    commands = {line.partition("=")[0].strip().removeprefix("kongming_") for line in section.splitlines() if line}
    assert commands == {path.stem.replace("-", "_") for path in GOLDEN.glob("*.txt")}
    assert commands == {command.replace(" ", "_") for command in FULL}


@pytest.mark.parametrize("command", FULL)
def test_help_has_an_example_of_the_command(command: str) -> None:
    """That can be copied."""
    text = (GOLDEN / f"{command.replace(' ', '-')}.txt").read_text().partition("\n$ ")[0]
    assert f"\nExample:\n\n  openstack kongming {command}" in text

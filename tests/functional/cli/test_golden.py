# SPDX-License-Identifier: Apache-2.0
"""Every command's help, empty, successful and failing output, as it stands in ``golden/``.

``KONGMING_RENEW=1 pytest tests/functional/cli/test_golden.py`` writes these files anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kongming_sched.placement import names
from testbed.lab.nova_api import NovaApi
from testbed.topologies import one_node_no_smt, two_nodes_smt2
from tests.functional.cli.conftest import InCloud, Nova, Register, paging_nova
from tests.functional.cli.shell import Shell
from tests.functional.cli.transcripts import EMPTY, FILES, FULL
from tests.functional.conftest import PlacementService
from tests.functional.transcript import check_schema, golden, transcript
from tests.unit.test_packaging import setup_cfg

GOLDEN = Path(__file__).parent / "golden"
RACK = "a99e0000-0000-4000-8000-000000000001"
SERVERS = {"web": "5e00e000-0000-4000-8000-00000000000a", "db": "5e00e000-0000-4000-8000-00000000000b"}
"""The ids that stand in the files for those that Nova draws."""


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the files of templates are, on a terminal of 80 columns."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def build(openstack: Shell, placement: PlacementService, nova: OwnNova, register: Register) -> None:
    """Templates, hosts, flavors that are right and wrong, and the servers' claims."""
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
    for name, template in (("m1.gold", "gold"), ("m1.exact", "exact"), ("m1.wrong", "gold")):
        nova.client.create_flavor(name, 2, 512, flavor_id=f"id-{name}")
        assert openstack("kongming flavor set", name, "--template", template).code == 0
    nova.client.create_flavor("plain", 2, 512, flavor_id="id-plain")
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


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", FULL)
def test_output_is_as_it_was_reviewed(
    in_cloud: InCloud, placement: PlacementService, own_nova: OwnNova, register: Register, command: str
) -> None:
    """Word for word; what is printed as JSON is valid against its published schema."""
    openstack = in_cloud(placement.endpoint, own_nova.client.endpoint)
    text = run(openstack, command, ["--help"])
    if command in EMPTY:
        text += "-- in a cloud without anything\n\n" + run(openstack, command, EMPTY[command])
    build(openstack, placement, own_nova, register)
    try:
        text += "-- in a cloud with hosts, templates, flavors and servers\n\n" + run(openstack, command, FULL[command])
    finally:
        own_nova.client.clear()
        for server in own_nova.servers.values():
            for key in own_nova.client.metadata(server):
                own_nova.client.call("DELETE", f"/servers/{server}/metadata/{key}")
    for name, server in own_nova.servers.items():
        text = text.replace(server, SERVERS[name])
    text = text.replace(own_nova.rack, RACK)
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

# SPDX-License-Identifier: Apache-2.0
"""The page of twins in the documents: what it says of plain commands and of KongMing's is what they do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from testbed.lab.nova_api import NovaApi
from testbed.quickstart.document import Command, File, agrees, steps
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Nova, Register
from tests.functional.cli.shell import Done, Shell

PAGE = Path(__file__).parents[3] / "doc/source/twins.rst"
HOST = "compute-1"


class Reader:
    """A reader who types the commands of the page, of a shell that knows variables and nothing else."""

    def __init__(self, openstack: Shell, folder: Path) -> None:
        self._openstack = openstack
        self._folder = folder
        self._variables: dict[str, str] = {}

    def write(self, file: File) -> None:
        """Write a file of the page."""
        (self._folder / file.name).write_text(file.text)

    def type(self, command: Command) -> Done:
        """Run a command of the page, and give what it prints."""
        assignment = re.fullmatch(r"(\w+)=\$\((.*)\)", command.text)
        done = self._run(assignment[2] if assignment else command.text)
        if assignment:
            self._variables[assignment[1]] = done.out.strip()
        return done

    def _run(self, text: str) -> Done:
        program, *words = shlex.split(text.replace("\\\n", " "))
        assert program == "openstack"
        paths = {"gold.yaml": str(self._folder / "gold.yaml")}
        values = [re.sub(r"\$(\w+)", lambda found: self._variables[found[1]], word) for word in words]
        return self._openstack("", *[paths.get(value, value) for value in values])


def make_server(nova: Nova, api: NovaApi, openstack: Shell) -> None:
    """The server of the page, which runs on the host."""
    flavor = nova.create_flavor("pewter.web", vcpus=1, memory_mb=512)
    assert openstack("kongming flavor set pewter.web --template pewter").code == 0
    api.build(nova.create_server("web", flavor), HOST)


def test_the_page_says_what_happens(
    openstack_with_nova: Shell, nova: Nova, nova_api: NovaApi, register: Register, tmp_path: Path
) -> None:
    """Every command succeeds and prints what stands below it; agents make a pass whenever something has changed."""
    shell = Shell({**openstack_with_nova.environment, "OS_PLACEMENT_API_VERSION": "1.39", "COLUMNS": "200"})
    reader = Reader(shell, tmp_path)
    for step in (step for block in steps(PAGE.read_text()) for step in block):
        if isinstance(step, File):
            reader.write(step)
            continue
        if step.text.startswith("openstack kongming server set"):
            make_server(nova, nova_api, shell)
        done = reader.type(step)
        assert (0, "") == (done.code, done.err), f"line {step.line}: {step.text}"
        printed = done.out.splitlines()
        assert agrees(step.output, printed), f"line {step.line} should print {step.output}, and printed {printed}"
        register(HOST, two_nodes_smt2())

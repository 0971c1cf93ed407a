# SPDX-License-Identifier: Apache-2.0
"""The documents name everything that there is; what they say of it is checked where it is done."""

from __future__ import annotations

import configparser
import re
import sys
import textwrap
from pathlib import Path

import pytest

from kongming_sched import exceptions
from kongming_sched.compat import StrEnum
from kongming_sched.placement import names
from kongming_sched.template import CpuPolicy

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "doc/source"

sys.path.append(str(ROOT / "doc/ext"))
from kongming_reference import symbols  # noqa: E402  # found only now


class Colour(StrEnum):
    """As those of the code."""

    RED = "red"
    """Of blood,
    and of roses.
    """
    GREEN = "green"


def commands() -> list[str]:
    """What ``openstack kongming`` can do."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["entry_points"]["openstack.kongming.v1"].strip().splitlines()
    return [line.partition("=")[0].strip().replace("_", " ") for line in lines]


@pytest.mark.parametrize("command", commands())
def test_every_command_has_its_twin(command: str) -> None:
    """An operator can do without KongMing's commands, and finds out how."""
    assert re.search(rf"^ +\$ openstack {command}( |$)", (SOURCE / "twins.rst").read_text(), re.MULTILINE)


def python_blocks(page: Path) -> list[str]:
    """What a page shows of Python, without its indentation."""
    found = re.findall(r"( *)\.\. code-block:: python\n\n((?:(?:\1   .*)?\n)+)", page.read_text())
    return [textwrap.dedent(text) for _, text in found]


@pytest.mark.parametrize("page", sorted((SOURCE / "contributor").glob("add-a-*.rst")), ids=lambda page: page.stem)
def test_what_contributors_copy_is_python_of_today(page: Path) -> None:
    """A module that a page shows whole can be loaded; of the tests that it shows, each can be read."""
    for text in python_blocks(page):
        code = compile(text, str(page), "exec")
        if text.startswith("# SPDX"):
            exec(code, {"__name__": page.stem})  # noqa: S102  # the documents' own


def test_the_guide_is_in_chinese_too() -> None:
    """All of its pages."""
    english = {path.name for path in (SOURCE / "admin").glob("*.rst")} | {"quickstart.rst"}
    assert english == {path.name for path in (SOURCE / "zh").glob("*.rst")}


def test_the_values_of_an_enumeration_bring_their_docstrings() -> None:
    """Python itself keeps none of these."""
    assert [("red", "Of blood,\nand of roses."), ("green", "")] == symbols.members(Colour)
    assert set(CpuPolicy) == {value for value, text in symbols.members(CpuPolicy) if text}


def test_the_vocabulary_is_complete() -> None:
    """Constants as they are, and names that are made with what they are made of."""
    found = dict(symbols.vocabulary(names))
    constants = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("CUSTOM_")}
    assert constants - {value for value in constants if value.endswith("_")} <= found.keys()
    assert {"CUSTOM_KONGMING_SLOT_<TEMPLATE>", "CUSTOM_KONGMING_SMT_<threads_per_core>"} <= found.keys()
    assert all(found.values())


def test_a_message_is_shown_with_the_names_of_its_facts() -> None:
    """Whatever the error wants."""
    assert "server <server> stays where it is: <reason>" == symbols.example(exceptions.MoveRefused)
    assert "" == symbols.example(exceptions.InvalidTopology)

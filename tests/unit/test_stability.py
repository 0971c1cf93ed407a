# SPDX-License-Identifier: Apache-2.0
"""What doc/source/reference/stability.rst promises is what there is.

A test that fails here after a change says that others would notice it. What is new is added to the page; what goes or
gets another name is deprecated first, as the page says. ``KONGMING_RENEW=1 pytest tests/unit/test_stability.py`` writes
``promised_api.txt`` anew.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kongming_sched import override, schemas, validators
from kongming_sched.agent.ipc import client, qemu_hook
from kongming_sched.agent.telemetry.metrics import Metrics
from kongming_sched.conf import agent, scheduler
from kongming_sched.placement import names
from tests.unit.test_packaging import ROOT, setup_cfg

sys.path.append(str(ROOT / "doc/ext"))
from kongming_reference import symbols  # found only now

PAGE = (ROOT / "doc/source/reference/stability.rst").read_text()
API = Path(__file__).parent / "promised_api.txt"


def block(name: str) -> str:
    """The text of the page's block of this name, without its indentation."""
    found = re.search(rf":name: promised-{name}\n\n((?:   .*\n)+)", PAGE)
    assert found, name
    return re.sub("^   ", "", found[1], flags=re.MULTILINE)


def table(name: str) -> dict[str, set[str]]:
    """The first word of each line of a block, and the words after it; a line that is indented goes on."""
    rows = re.sub(r"\n +", " ", block(name)).splitlines()
    return {first: set(rest) for first, *rest in (row.split() for row in rows)}


def group(name: str) -> set[str]:
    """The entry points of a group."""
    lines = setup_cfg()["entry_points"][name].strip().splitlines()
    return {line.partition("=")[0].strip() for line in lines}


@pytest.mark.parametrize("name", table("entry-points"))
def test_entry_points(name: str) -> None:
    """Their names stand in configuration files and in scripts."""
    assert group(name) == table("entry-points")[name]


def test_groups_of_entry_points() -> None:
    """Every group of ours is promised, also to those who add to it."""
    ours = {name for name in setup_cfg()["entry_points"] if name.startswith(("kongming_sched.", "openstack.kongming."))}
    assert ours == table("entry-points").keys()


def test_schemas() -> None:
    """Programs name them."""
    assert set(schemas.schema_names()) == set(block("schemas").split())


def test_traits_and_classes() -> None:
    """They are in the Placement of every cloud that runs KongMing."""
    assert {name for name, _ in symbols.vocabulary(names)} == set(block("vocabulary").split())


def test_keys_of_flavors_and_servers() -> None:
    """They are in Nova's database."""
    flavor = {validator.name for validator in validators.register()}
    assert {"flavor": flavor, "server": set(override.KEYS)} == table("keys")


def test_options() -> None:
    """They are in configuration files."""
    found = {module.GROUP.name: {option.name for option in module.OPTS} for module in (agent, scheduler)}
    assert found == table("options")


def metrics() -> Iterator[tuple[str, set[str]]]:
    """Each metric of an agent that has seen nothing yet, and its labels."""
    registry = Metrics().registry
    for collector in registry._collector_to_names:
        for family in collector.collect():
            if family.name.startswith("kongming_"):
                labels: Iterable[str] = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
                yield family.name + "_total" * (family.type == "counter"), set(labels)


def test_metrics() -> None:
    """Dashboards and alarms name them and their labels."""
    assert dict(metrics()) == table("metrics")


def test_greetings_of_the_socket() -> None:
    """An installed hook is a copy, which may be older than the agent."""
    known = (client.GREETING, qemu_hook.GREETING, qemu_hook.START_GREETING)
    found = {greeting.decode().strip() for greeting in known}
    assert found == set(block("greetings").splitlines())


def load(path: str) -> object:
    """A module, or what a module has."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return symbols.load(path)


def describe(path: str, thing: object) -> Iterator[str]:
    """A line for a name that is promised, and for each name in it that others use or override."""
    yield path + _parameters(thing)
    if isinstance(thing, ModuleType | type):
        home = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
        abstract: frozenset[str] = getattr(thing, "__abstractmethods__", frozenset())
        for name, member in sorted(vars(thing).items()):
            is_ours = getattr(member, "__module__", home) == home and not isinstance(member, ModuleType)
            if is_ours and (name in abstract or not name.startswith("_")):
                yield from describe(f"{path}.{name}", member)


def _parameters(thing: object) -> str:
    """The parameters of what is called, without their types; which have a default, but not which default."""
    called = getattr(thing, "__func__", thing)
    if not callable(called) or (isinstance(called, type) and issubclass(called, Exception)):
        return ""
    found = inspect.signature(called).parameters.values()
    return f"({', '.join(one.name + '=...' * (one.default is not one.empty) for one in found)})"


def test_python() -> None:
    """Names, parameters and members are those that were reviewed."""
    lines = [line for path in block("python").split() for line in describe(path, load(path))]
    text = "".join(f"{line}\n" for line in lines)
    if "KONGMING_RENEW" in os.environ:
        API.write_text(text)
    assert text == API.read_text()

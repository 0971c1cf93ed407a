# SPDX-License-Identifier: Apache-2.0
"""The map of the package holds: who may import what, and who may touch the host."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kongming_sched

PACKAGE = Path(kongming_sched.__file__).parent

CHECKOUT = Path(__file__).parents[2]

CORE = [
    "compat",
    "exceptions",
    "cpuset",
    "clashes",
    "topology",
    "pools",
    "qos",
    "template",
    "request",
    "override",
    "allocator",
]
"""They import the standard library and each other."""

ROOMS = {
    "nova": ["scheduler", "filters", "weighers", "validators"],
    "libvirt": ["agent.host.libvirt_host"],
    "kongming_sched.agent": ["agent"],
    "kongming_sched.cli": ["cli", "status"],
    "kongming_sched.cloud": ["cloud", "cli", "status"],
    "kongming_sched.status": ["status"],
    "kongming_sched.filters": ["filters"],
    "kongming_sched.scheduler": ["scheduler", "filters", "weighers"],
    "kongming_sched.weighers": ["weighers"],
    "kongming_sched.validators": [],
    "kongming_sched.placement": ["placement", "agent", "cloud", "cli", "status", "scheduler", "filters", "weighers"],
    "kongming_sched.pages": ["pages", "agent", "cli"],
    "kongming_sched.conf": ["conf", "agent", "status", "filters", "weighers"],
    "prometheus_client": ["agent.telemetry"],
    "rich": ["agent.commands.map_terminal"],
    "oslo_messaging": ["agent.triggers"],
    "oslo_config": ["conf", "agent", "status", "filters", "weighers"],
    "oslo_upgradecheck": ["status"],
    "requests": [],
    "urllib.request": [],
    "subprocess": [],
}
"""What may be imported in which rooms alone."""

HOST_PATHS = ("/proc", "/sys")
HOST_ROOMS = ["agent.host"]
"""Only these name files of the kernel."""


def is_in(name: str, room: str) -> bool:
    """Whether a dotted name is this one or lies below it."""
    return name == room or name.startswith(f"{room}.")


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything that is imported anywhere in a module, as a.b.c where c may be a module or a name in a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module without its docstrings, be they of modules, classes, functions or names."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name without the package's, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(), str(path))
    return found


def trespassers(what: str, rooms: list[str], package: dict[str, ast.Module]) -> list[str]:
    """The modules outside of the rooms that import it."""
    return [
        f"{name or '__init__'} imports {imported}"
        for name, tree in package.items()
        if not any(is_in(name, room) for room in rooms)
        for imported in imports(tree)
        if is_in(imported, what)
    ]


def test_the_map_is_of_this_package() -> None:
    """Every room exists, so that no rule is void because of a name."""
    names = modules().keys()
    rooms = {room for some in ROOMS.values() for room in some} | set(CORE) | set(HOST_ROOMS)
    assert [] == sorted(rooms - names)


@pytest.mark.parametrize("name", CORE)
def test_the_core_needs_the_standard_library_and_itself_alone(name: str) -> None:
    """So that it can be read, tested and trusted without a cloud."""
    outside = [
        imported
        for imported in imports(modules()[name])
        if imported.partition(".")[0] not in sys.stdlib_module_names
        and not any(is_in(imported, f"kongming_sched.{other}") for other in CORE)
    ]
    assert [] == outside


@pytest.mark.parametrize("what", ROOMS)
def test_what_is_imported_stays_in_its_rooms(what: str) -> None:
    """Arrows point down only; nova and libvirt are each behind one door."""
    assert [] == trespassers(what, ROOMS[what], modules())


def test_only_the_hosts_own_modules_name_files_of_the_kernel() -> None:
    """Everything else is told what they hold."""
    offenders = [
        f"{name}: {text!r}"
        for name, tree in modules().items()
        if not any(is_in(name, room) for room in HOST_ROOMS)
        for text in texts(tree)
        if text.startswith(HOST_PATHS)
    ]
    assert [] == offenders


@pytest.mark.parametrize(
    "source",
    [
        "import nova",
        "import nova.conf as c",
        "from nova import utils",
        "from nova.scheduler import filters",
        "def late():\n    import nova.conf",
        "try:\n    from nova import utils\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_is_found_wherever_it_hides(source: str) -> None:
    """The rules above are not void."""
    package = {
        "cli.server": ast.parse(source),
        "filters.numa": ast.parse(source),
        "cli.novae": ast.parse("import novae"),
    }
    assert ["cli.server"] == [line.split()[0] for line in trespassers("nova", ROOMS["nova"], package)]


def test_prose_may_speak_of_the_kernel() -> None:
    """A docstring is no access."""
    tree = ast.parse('"""Reads /proc."""\nPATH = "/proc/stat"\n"""/sys too."""')
    assert ["/proc/stat"] == list(texts(tree))


@pytest.mark.parametrize(
    ("folder", "above"),
    [
        ("testbed", ["benchmarks", "tests"]),
        ("benchmarks", ["tests"]),
        ("kongming_sched", ["testbed", "benchmarks", "tests"]),
    ],
)
def test_what_runs_without_the_tests_imports_nothing_above_it(folder: str, above: list[str]) -> None:
    """The package stands alone, the testbed has only the package below it, and benchmarks run without the tests."""
    sources = {str(path.relative_to(CHECKOUT)): path.read_text() for path in (CHECKOUT / folder).rglob("*.py")}
    assert sources
    trees = {name: ast.parse(source, name) for name, source in sources.items()}
    assert [] == [line for what in above for line in trespassers(what, [], trees)]

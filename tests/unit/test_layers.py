# SPDX-License-Identifier: Apache-2.0
"""The map of the package holds: who may import what, and who may touch the host."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.unit import layers
from tests.unit.layers import CHECKOUT, CORE, imports, is_in, modules

ALONE = {
    "nova": ["scheduler", "filters", "weighers", "validators"],
    "libvirt": ["agent.host.libvirt_host", "agent.host.libvirt_events"],
    "kongming_sched.agent": ["agent"],
    "kongming_sched.cli": ["cli"],
    "kongming_sched.cloud": ["cloud", "cli", "status"],
    "kongming_sched.status": ["status"],
    "kongming_sched.filters": ["filters"],
    "kongming_sched.scheduler": ["scheduler", "filters", "weighers", "cloud.what_if"],
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


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a module without its docstrings, be they of modules, classes, functions or names."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def trespassers(what: str, rooms: list[str], package: Mapping[str, ast.Module]) -> list[str]:
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
    rooms = {room for some in ALONE.values() for room in some} | {*CORE, *HOST_ROOMS, *layers.ROOMS}
    assert [] == sorted(rooms - names)


@pytest.mark.parametrize("name", [name for name in modules() if layers.room_of(name, CORE)])
def test_the_core_needs_the_standard_library_and_itself_alone(name: str) -> None:
    """So that it can be read, tested and trusted without a cloud."""
    outside = [
        imported
        for imported in imports(modules()[name])
        if imported.partition(".")[0] not in sys.stdlib_module_names
        and not any(is_in(imported, f"kongming_sched.{other}") for other in CORE)
    ]
    assert [] == outside


@pytest.mark.parametrize("what", ALONE)
def test_what_is_imported_stays_in_its_rooms(what: str) -> None:
    """Arrows point down only; nova and libvirt are each behind one door."""
    assert [] == trespassers(what, ALONE[what], modules())


def test_only_the_hosts_own_modules_name_files_of_the_kernel() -> None:
    """Everything else is handed what they hold."""
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
    assert ["cli.server"] == [line.split()[0] for line in trespassers("nova", ALONE["nova"], package)]


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


def test_rooms_import_only_what_the_map_allows() -> None:
    """A room imports the core and what stands in its line of the map."""
    found = {(source, target) for source, targets in layers.arrows(modules()).items() for target in targets}
    allowed = {(source, target) for source, targets in layers.ROOMS.items() for target in targets}
    assert [] == sorted(found - allowed)


def test_map_points_down() -> None:
    """A room may import only what stands above it in the list, so that there is a bottom to begin to read at."""
    order = list(layers.ROOMS)
    assert [] == [
        f"{source} -> {target}"
        for source, targets in layers.ROOMS.items()
        for target in targets
        if order.index(target) >= order.index(source)
    ]


def test_the_architecture_page_shows_the_map() -> None:
    """A reader sees the packages and arrows that are checked here; ``python -m tests.unit.layers`` prints them."""
    page = (CHECKOUT / "doc/source/contributor/architecture.rst").read_text()
    assert (
        layers.page_section() + "\n"
        == page[page.index(".. code-block:: text\n\n    +-") : page.index(".. end of the map")]
    )


def test_every_module_is_in_a_room() -> None:
    """The map is of the whole package."""
    rooms = [*layers.ROOMS, *CORE]
    assert {"", "agent", "texts"} == {name for name in modules() if not layers.room_of(name, rooms)}


def test_modules_import_each_other_in_no_circle() -> None:
    """Each can be read, and tested, with only those that it needs."""
    assert [] == layers.circle(layers.module_arrows(modules()))


def test_packages_can_be_overlooked() -> None:
    """None has more modules than a listing shows at a glance."""
    sizes = layers.package_sizes(modules())
    assert {} == {name: size for name, size in sizes.items() if size > layers.MAX_MODULES}


def test_long_modules_say_why() -> None:
    """A module that has more lines than the others gives its reason where a reader begins."""
    assert [] == [name for name, source in layers.sources().items() if layers.is_too_long(source)]


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        pytest.param({"a": {"b"}, "b": set()}, [], id="none"),
        pytest.param({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}, ["a", "b", "c"], id="a circle and its way in"),
        pytest.param({"a": {"somewhere else"}}, [], id="what is not of the graph"),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: list[str]) -> None:
    """The rule above is not void."""
    assert expected == layers.circle(graph)


def test_arrow_between_rooms_is_found() -> None:
    """Within a room, and to the core, there are none."""
    package = {
        "agent.act.apply": ast.parse("from kongming_sched.agent.loop.service import Agent"),
        "agent.act.pages": ast.parse("from kongming_sched.agent.act import apply\nfrom kongming_sched import cpuset"),
    }
    assert {"agent.act": {"agent.loop"}} == layers.arrows(package)


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        pytest.param("What it does.", True, id="without a reason"),
        pytest.param("What it does.\n\nOver 300 lines\nbecause it is one file.", False, id="with one"),
    ],
)
def test_reason_counts_where_a_module_is_long(docstring: str, expected: bool) -> None:
    """It is found wherever the docstring breaks its lines."""
    assert expected == layers.is_too_long(f'"""{docstring}"""\n' + "x = 1\n" * 300)

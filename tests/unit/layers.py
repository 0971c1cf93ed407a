# SPDX-License-Identifier: Apache-2.0
"""The map of the package as data: its rooms from the bottom to the top, and whom each may import.

It needs nothing but the standard library. test_layers.py checks it, and that the architecture page shows it:
``python -m tests.unit.layers`` prints that part of the page.
"""

from __future__ import annotations

import ast
import functools
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "kongming_sched"

CORE = (
    "compat",
    "texts.printable",
    "texts.sentences",
    "exceptions",
    "cpuset",
    "texts.records",
    "texts.whole_number",
    "texts.counted",
    "clashes",
    "page_sizes",
    "topology",
    "pools",
    "nova_numa",
    "clauses",
    "qos",
    "template",
    "request",
    "override",
    "caches",
    "allocator",
)
"""Every room may import these; they import the standard library and each other."""

_AGENT_BELOW_THE_LOOP = (
    "agent.settings",
    "agent.own_directory",
    "agent.model",
    "agent.decide",
    "agent.ipc",
    "agent.host",
    "agent.state",
    "agent.act",
    "agent.triggers",
    "agent.telemetry",
)

ROOMS: Mapping[str, tuple[str, ...]] = {
    "help_text": (),
    "version": (),
    "schemas": (),
    "pages": (),
    "conf": (),
    "api": (),
    "hours": (),
    "placement": ("api",),
    "validators": (),
    "scheduler": ("api", "placement"),
    "filters": ("conf", "placement", "scheduler"),
    "weighers": ("conf", "scheduler"),
    "cloud": ("api", "placement", "scheduler"),
    "cli": ("cloud", "help_text", "hours", "pages", "placement"),
    "status": ("cloud", "conf", "placement", "version"),
    "agent.settings": ("api", "conf"),
    "agent.own_directory": (),
    "agent.model": ("placement",),
    "agent.decide": ("agent.model", "placement"),
    "agent.ipc": ("agent.own_directory",),
    "agent.host": ("agent.model", "agent.ipc", "placement"),
    "agent.state": ("agent.model", "agent.decide", "agent.own_directory"),
    "agent.act": ("agent.model", "agent.decide", "agent.host", "agent.state", "placement"),
    "agent.triggers": ("agent.model", "agent.state", "agent.settings", "api", "placement"),
    "agent.telemetry": ("agent.model", "agent.settings", "placement", "version"),
    "agent.loop": (*_AGENT_BELOW_THE_LOOP, "hours", "placement"),
    "agent.inspect": (*_AGENT_BELOW_THE_LOOP, "agent.loop", "api", "conf", "placement"),
    "agent.commands": (
        *_AGENT_BELOW_THE_LOOP,
        "agent.loop",
        "agent.inspect",
        "conf",
        "help_text",
        "pages",
        "placement",
        "version",
    ),
    "agent.start": ("agent.commands",),
}
"""A room, which is a package or a module, to those that it may import besides the core. What is lower stands first."""

MAX_MODULES = 15
"""In one package, beside its ``__init__``."""

MAX_LINES = 300
"""Of a module, unless its docstring says why in words that begin with ``REASON``."""

REASON = f"Over {MAX_LINES} lines because "


@functools.cache
def sources() -> Mapping[str, str]:
    """Every module of the package by its name without the package's, which is empty for the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


@functools.cache
def modules() -> Mapping[str, ast.Module]:
    """Every module of the package by its name without the package's, parsed."""
    return {name: ast.parse(source, name) for name, source in sources().items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything that is imported anywhere in a module, as a.b.c where c may be a module or a name in a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str, rooms: Sequence[str]) -> str:
    """The room that a module is in; empty for the package itself and what only holds rooms."""
    return next((room for room in rooms if is_in(module, room)), "")


def is_in(name: str, room: str) -> bool:
    """Whether a dotted name is this one or lies below it."""
    return name == room or name.startswith(f"{room}.")


def arrows(package: Mapping[str, ast.AST]) -> dict[str, set[str]]:
    """Which room imports which others, the core left out.

    :param package: modules by their names without the package's
    """
    rooms = [*ROOMS, *CORE]
    found: dict[str, set[str]] = {}
    for module, tree in package.items():
        source = room_of(module, rooms)
        targets = {room_of(name, rooms) for name in _own(tree)} - {source, "", *CORE}
        if targets and source not in CORE:
            found.setdefault(source, set()).update(targets)
    return found


def module_arrows(package: Mapping[str, ast.AST]) -> dict[str, set[str]]:
    """Which module imports which others of the package."""
    return {
        module: {name if name in package else name.rpartition(".")[0] for name in _own(tree)} - {module}
        for module, tree in package.items()
    }


def _own(tree: ast.AST) -> Iterator[str]:
    """What a module imports of this package, without the package's name."""
    return (name.removeprefix("kongming_sched.") for name in imports(tree) if name.startswith("kongming_sched."))


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """What is on a circle of a graph or leads to one; empty if there is none."""
    left = dict(graph)
    while free := [source for source, targets in left.items() if not targets & left.keys()]:
        for source in free:
            del left[source]
    return sorted(left)


def floors() -> list[list[str]]:
    """The rooms by how many others lie below them, from the bottom to the top."""
    height: dict[str, int] = {}
    for room, targets in ROOMS.items():
        height[room] = max((height[target] + 1 for target in targets), default=0)
    return [[room for room in ROOMS if height[room] == floor] for floor in range(max(height.values()) + 1)]


def drawing() -> str:
    """The map as the architecture page shows it: the floors from the top to the bottom, and under them the core."""
    rows = ["   ".join(floor) for floor in reversed(floors())] + ["   ".join(CORE)]
    width = 90
    lines = ["+" + "-" * (width + 2) + "+"]
    for row in rows:
        lines += [f"| {line.center(width)} |" for line in textwrap.wrap(row, width)]
        lines.append(lines[0])
    return "\n".join(lines)


def arrow_table() -> dict[str, str]:
    """A room to the rooms that it may import, in words: a name that ends with * stands for all that begin with it.

    ``agent.*`` means the rooms of the agent that stand before it.
    """
    order = list(ROOMS)
    table = {}
    for room, targets in ROOMS.items():
        below = {other for other in order[: order.index(room)] if other.startswith("agent.")}
        if below and below <= set(targets):
            targets = ("agent.*", *(target for target in targets if target not in below))
        table[room] = ", ".join(sorted(targets)) or "-"
    return table


def page_section() -> str:
    """The part of the architecture page that shows the map: a drawing, and a table of the arrows."""
    drawn = textwrap.indent(drawing(), "    ")
    rows = "\n".join(f"   * - ``{room}``\n     - {targets}" for room, targets in arrow_table().items())
    head = (
        ".. list-table::\n   :header-rows: 1\n   :widths: 20 80\n\n   * - Package\n     - May import, besides the core"
    )
    return f".. code-block:: text\n\n{drawn}\n\n{head}\n{rows}\n"


def package_sizes(names: Iterable[str]) -> Counter[str]:
    """How many modules each package has, those of packages below it left out."""
    every = set(names)
    packages = {name.rpartition(".")[0] for name in every if name}
    return Counter(name.rpartition(".")[0] for name in every - packages)


def is_too_long(source: str) -> bool:
    """Whether a module has more lines than it may, and does not say why."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return len(source.splitlines()) > MAX_LINES and REASON not in " ".join(docstring.split())


if __name__ == "__main__":
    print(page_section())

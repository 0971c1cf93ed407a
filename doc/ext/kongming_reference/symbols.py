# SPDX-License-Identifier: Apache-2.0
"""What modules say of their own names: the docstring below an assignment, of which Python itself keeps nothing."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator, Sequence
from enum import Enum
from types import FunctionType, ModuleType

PREFIX = "CUSTOM_KONGMING"


def assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Each name that a module or a class assigns, with the docstring below it or an empty text."""
    for statement, after in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name, docstring(after)


def docstring(statement: ast.stmt | None) -> str:
    """The text that a statement is, if it is nothing else."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return inspect.cleandoc(text)
    return ""


def load(path: str) -> object:
    """What a dotted path names.

    :raises ImportError: if the module cannot be loaded
    :raises AttributeError: if there is no such name in it
    """
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def members(enum: type[Enum]) -> list[tuple[str, str]]:
    """Each value of an enumeration with its docstring."""
    found = ast.parse(inspect.getsource(enum)).body[0]
    assert isinstance(found, ast.ClassDef)
    return [(str(enum[name].value), text) for name, text in assigned(found.body)]


def vocabulary(module: ModuleType) -> list[tuple[str, str]]:
    """The traits and classes that a module names, with what it says of them: constants, and functions of one name."""
    tree = ast.parse(inspect.getsource(module))
    found = [(getattr(module, name), text) for name, text in assigned(tree.body) if text and not name.startswith("_")]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and len(node.args.args) == 1:
            function = inspect.unwrap(getattr(module, node.name))
            assert isinstance(function, FunctionType)
            found.append((_of_placeholder(function, node.args.args[0].arg), inspect.getdoc(function) or ""))
    return [(str(value), text) for value, text in found if str(value).startswith((PREFIX, "HW_"))]


def _of_placeholder(function: FunctionType, argument: str) -> object:
    """What a function makes of ``<argument>``; None if it wants something else."""
    try:
        return function(f"<{argument}>")
    except (AttributeError, TypeError, ValueError):
        return None


def example(error: type[Exception]) -> str:
    """The message of an error whose facts are their names."""
    facts = [name for name in inspect.signature(error.__init__).parameters if name not in ("self", "args", "kwargs")]
    return str(error(*(f"<{name}>" for name in facts))) if facts else ""

# SPDX-License-Identifier: Apache-2.0
"""Loads the filters and weighers of all installed packages from their entry points."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from stevedore import extension

from kongming_sched import exceptions

LOADED: dict[str, tuple[str, ...]] = {}
"""The names of the classes that were loaded, by group."""


def load(group: str, base: type, option: str) -> list[type]:
    """The classes behind all entry points of a group, ordered by the entry points' names.

    :param base: the class from which each must be derived
    :param option: the option of nova.conf that names this package's loader
    :raises ConfigurationError: naming the entry point that does not load. nova-scheduler then does not start, rather
        than run without a filter that the operator relies on.
    """

    def refuse(_manager: Any, entry_point: metadata.EntryPoint, error: BaseException) -> None:
        where = f"entry point {entry_point.name} = {entry_point.value} of {group}"
        raise exceptions.ConfigurationError(option, f"{where} does not load: {error!r}") from error

    manager: extension.ExtensionManager[type] = extension.ExtensionManager(group, on_load_failure_callback=refuse)
    for plugin in manager:
        if not isinstance(plugin.plugin, type) or not issubclass(plugin.plugin, base):
            where = f"entry point {plugin.name} = {plugin.entry_point_target} of {group}"
            raise exceptions.ConfigurationError(option, f"{where} is no {base.__name__}")
    found = [plugin.plugin for plugin in sorted(manager, key=lambda plugin: plugin.name)]
    LOADED[group] = tuple(plugin.__name__ for plugin in found)
    return found

# SPDX-License-Identifier: Apache-2.0
"""The configuration files of this machine, as far as kongming-status checks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.clashes import cpus_of_option, find_clashes
from kongming_sched.conf import agent as agent_conf
from kongming_sched.conf import status as status_conf

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class NovaFile:
    """The scheduler's options in nova.conf; None for an option that is not set.

    :ivar files: the files that were read
    """

    files: tuple[str, ...]
    available_filters: tuple[str, ...] | None
    enabled_filters: tuple[str, ...] | None
    weight_classes: tuple[str, ...] | None
    max_placement_results: int
    disable_fallback_pcpu_query: bool = False


@dataclass(frozen=True, slots=True)
class PlacementFile:
    """The options of placement.conf."""

    files: tuple[str, ...]
    allocation_conflict_retry_count: int
    generation_strategy: str
    max_allocation_candidates: int


@dataclass(frozen=True, slots=True)
class AgentFile:
    """The options about CPUs in the agent's file and in nova.conf on a compute node.

    :ivar pools: how many CPUs are in the agent's pools
    :ivar clashes: errors for which the agent would not start
    """

    files: tuple[str, ...]
    pools: int
    clashes: tuple[exceptions.ConfigurationError, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """The paths of the files by kind; empty for a kind that this machine does not have."""

    nova: tuple[str, ...]
    placement: tuple[str, ...]
    agent: tuple[str, ...]

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> Files:
        """The files that the command line of kongming-status names, or else those at the usual places."""
        return cls(
            _found(conf.nova_config_file, "nova"),
            _found(conf.placement_config_file, "placement"),
            _found(conf.agent_config_file, "agent"),
        )

    def read_nova(self) -> NovaFile | None:
        """nova.conf.

        :raises ConfigurationError: if it cannot be read
        :raises MissingFile: if it is not there
        """

        def read(conf: cfg.ConfigOpts) -> NovaFile:
            filters = conf.filter_scheduler
            return NovaFile(
                self.nova,
                _tuple(filters.available_filters),
                _tuple(filters.enabled_filters),
                _tuple(filters.weight_classes),
                conf.scheduler.max_placement_results,
                conf.workarounds.disable_fallback_pcpu_query,
            )

        return _read(self.nova, status_conf.register_nova_opts, read)

    def read_placement(self) -> PlacementFile | None:
        """placement.conf.

        :raises ConfigurationError: if it cannot be read
        :raises MissingFile: if it is not there
        """

        def read(conf: cfg.ConfigOpts) -> PlacementFile:
            group = conf.placement
            return PlacementFile(
                self.placement,
                group.allocation_conflict_retry_count,
                group.allocation_candidates_generation_strategy,
                group.max_allocation_candidates,
            )

        return _read(self.placement, status_conf.register_placement_opts, read)

    def read_agent(self) -> AgentFile | None:
        """The agent's file, beside nova.conf if that is here.

        :raises ConfigurationError: if a file or a CPU set in it cannot be read
        :raises MissingFile: if one is not there
        """

        def read(conf: cfg.ConfigOpts) -> AgentFile:
            ours, novas = ("dedicated_cpu_set", "shared_cpu_set"), ("cpu_shared_set", "cpu_dedicated_set")
            pools = {name: cpus_of_option(conf.kongming_agent[name], name) for name in ours}
            given = {name: cpus_of_option(conf.compute[name], f"[compute] {name}") for name in novas}
            count = sum(map(len, pools.values()))
            return AgentFile((*self.nova, *self.agent), count, tuple(find_clashes(pools, given)))

        return _read((*self.nova, *self.agent), agent_conf.register_opts, read) if self.agent else None


def _found(named: Sequence[str] | None, kind: str) -> tuple[str, ...]:
    if named:
        return tuple(named)
    usual = Path(status_conf.DEFAULT_FILES[kind])
    if not usual.exists():
        return ()
    further = usual.with_suffix(".conf.d").glob("*.conf")  # which the services read after the file itself
    return (str(usual), *map(str, sorted(further)))


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _read(
    files: Sequence[str], register: Callable[[cfg.ConfigOpts], None], read: Callable[[cfg.ConfigOpts], _T]
) -> _T | None:
    if not files:
        return None
    conf = cfg.ConfigOpts()
    register(conf)
    try:
        conf([], project="kongming", default_config_files=list(files), default_config_dirs=[])
        return read(conf)
    except cfg.ConfigFilesNotFoundError as error:
        raise exceptions.MissingFile(", ".join(file for file in files if not Path(file).exists())) from error
    except cfg.Error as error:
        raise exceptions.ConfigurationError(", ".join(files), str(error)) from error

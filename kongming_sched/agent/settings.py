# SPDX-License-Identifier: Apache-2.0
"""The agent's options as checked values."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keystoneauth1 import adapter, loading
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1.loading import adapter as loading_adapter
from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.api.bound import DEFAULT_SECONDS, MARGIN_SECONDS, Bound, Burst
from kongming_sched.clashes import cpus_of_option, find_clashes
from kongming_sched.conf import agent as agent_conf
from kongming_sched.conf import nova_markers
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.markers import why_not_led
from kongming_sched.pools import (
    NO_HUGE_PAGES,
    HostCpus,
    HostPools,
    PagesByNode,
    ReservedPages,
    check_pools,
    parse_reserved,
)
from kongming_sched.topology import HostTopology

_NO_LIMIT = contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration files say.

    :ivar housekeeping: None if it is to be what the pools leave over
    :ivar nova_dedicated: host CPUs that Nova gives away itself
    :ivar nova_shared: host CPUs over which Nova lets servers float
    :ivar metrics_port: 0 for no metrics
    :ivar metrics_token_file: with the token that a request for metrics must show; None if none has to
    :ivar lock_name: one agent of this name runs on a machine
    :ivar history_file: to which each change of a server is written; None for none
    :ivar history_max_mb: the size at which the next one is begun, in MiB
    :ivar reserved_pages: huge pages that Nova's options keep for others than servers
    :ivar markers: physical networks that lead Nova to NUMA nodes, each with the nodes that it is near; None if that is
        not known
    """

    dedicated: CpuSet
    shared: CpuSet
    housekeeping: CpuSet | None
    nova_dedicated: CpuSet
    vcpu_allocation_ratio: float
    reserved_memory_mb: int
    host: str | None
    libvirt_uri: str
    interval_seconds: int
    run_directory: Path
    confine_unmanaged: bool
    metrics_address: str
    metrics_port: int
    triggers: tuple[str, ...] = ("libvirt", "timer")
    metadata_poll_interval: int = 0
    nova_shared: CpuSet = field(default_factory=CpuSet)
    metrics_token_file: Path | None = None
    lock_name: str = "kongming-agent"
    refuse_starts_without_agent: bool = True
    reserved_pages: tuple[ReservedPages, ...] = ()
    move_irqs: bool = False
    markers: Mapping[str, tuple[int, ...]] | None = None
    history_file: Path | None = None
    history_max_mb: int = 10

    def host_cpus(self, topology: HostTopology, huge_pages: PagesByNode = NO_HUGE_PAGES) -> HostCpus:
        """A host's CPUs with the pools that the options ask for.

        :raises ConfigurationError: if the host cannot have them
        """
        cpus = self.unchecked_cpus(topology, huge_pages)
        check_pools(cpus)
        return cpus

    def unchecked_cpus(self, topology: HostTopology, huge_pages: PagesByNode = NO_HUGE_PAGES) -> HostCpus:
        """A host's CPUs with the pools that the options ask for, whether it can have them or not."""
        housekeeping = self.housekeeping
        if housekeeping is None:
            housekeeping = topology.cpus - self.dedicated - self.nova_dedicated
        pools = HostPools(
            self.dedicated,
            self.shared,
            housekeeping,
            self.vcpu_allocation_ratio,
            self.reserved_memory_mb,
            self.reserved_pages,
        )
        nodes = [node.id for node in topology.nodes]
        not_led = "" if self.markers is None else why_not_led(nodes, self.markers)
        return HostCpus(topology, pools, huge_pages, not_led)

    def clashes(self) -> Iterator[exceptions.ConfigurationError]:
        """An error for each pair of options by which Nova gives away the same CPUs."""
        ours = {"dedicated_cpu_set": self.dedicated, "shared_cpu_set": self.shared}
        return find_clashes(ours, {"cpu_shared_set": self.nova_shared, "cpu_dedicated_set": self.nova_dedicated})


def read_settings(conf: cfg.ConfigOpts) -> Settings:
    """Read and check the options, as far as that can be done without the host.

    :raises ConfigurationError: for a set that cannot be read or that Nova gives away too
    """
    settings = parse_settings(conf)
    for clash in settings.clashes():
        raise clash
    return settings


def parse_settings(conf: cfg.ConfigOpts) -> Settings:
    """Read the options.

    :raises ConfigurationError: for a set that cannot be read
    """
    options = conf.kongming_agent
    housekeeping = None
    if options.housekeeping_cpu_set is not None:
        housekeeping = cpus_of_option(options.housekeeping_cpu_set, "housekeeping_cpu_set")
    return Settings(
        cpus_of_option(options.dedicated_cpu_set, "dedicated_cpu_set"),
        cpus_of_option(options.shared_cpu_set, "shared_cpu_set"),
        housekeeping,
        cpus_of_option(conf.compute.cpu_dedicated_set, "[compute] cpu_dedicated_set"),
        options.vcpu_allocation_ratio,
        options.reserved_memory_mb,
        options.host,
        options.libvirt_uri,
        options.interval_seconds,
        Path(options.run_directory),
        options.confine_unmanaged,
        options.metrics_address,
        options.metrics_port,
        tuple(dict.fromkeys(options.triggers)),
        options.metadata_poll_interval,
        cpus_of_option(conf.compute.cpu_shared_set, "[compute] cpu_shared_set"),
        Path(options.metrics_token_file) if options.metrics_token_file else None,
        options.lock_name,
        options.refuse_starts_without_agent,
        parse_reserved(conf.reserved_huge_pages),
        options.move_irqs,
        nova_markers.read_markers(conf),
        Path(options.history_file) if options.history_file else None,
        options.history_max_mb,
    )


def placement_adapter(conf: cfg.ConfigOpts) -> adapter.Adapter:
    """The way to Placement as the group ``[placement]`` says, in Nova's own words. Nothing is asked yet.

    :raises ConfigurationError: if the group lacks something
    """
    found = _adapter(conf, agent_conf.PLACEMENT)
    if found is None:
        raise exceptions.ConfigurationError(
            "[placement] auth_type", "is not set; hand the agent nova.conf too, or copy its group [placement]"
        )
    return found


def nova_adapter(conf: cfg.ConfigOpts) -> adapter.Adapter | None:
    """The way to Nova's API as the group ``[kongming_nova]`` says; None if it says nothing. Nothing is asked yet.

    :raises ConfigurationError: if the group lacks something
    """
    return _adapter(conf, agent_conf.NOVA)


class _PromptAdapter(adapter.Adapter):
    """Sends each request at once, and gives up what takes longer than ``timeout`` of its group: the whole of a request,
    or requests that follow one another.

    keystoneauth's limit of their rate, although nobody sets one, waits by the clock of the day: where that is set back
    by an hour the next request would wait for an hour.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bound = Bound()
        self._burst = Burst()

    @property
    def seconds(self) -> float:
        """How long a request may take."""
        return (self.session.timeout or DEFAULT_SECONDS + MARGIN_SECONDS) - MARGIN_SECONDS

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        """Send a request.

        :raises TimeoutError: if it is not over in time
        """
        send = functools.partial(super().request, url, method, **{"rate_semaphore": _NO_LIMIT, **kwargs})
        limited = functools.partial(self._bound.run, send)
        return self._burst.run(limited, self.seconds)


class _Loader(loading_adapter.Adapter):
    """Makes such adapters of options."""

    @property
    def plugin_class(self) -> type[adapter.Adapter]:
        """What it makes."""
        return _PromptAdapter


def _adapter(conf: cfg.ConfigOpts, group: str) -> adapter.Adapter | None:
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
        if auth is None:
            return None
        session = loading.load_session_from_conf_options(conf, group, auth=auth)
        session.timeout = (session.timeout or DEFAULT_SECONDS) + MARGIN_SECONDS  # between two bytes
        return _Loader().load_from_conf_options(conf, group, session=session)
    except ksa_exceptions.ClientException as error:
        raise exceptions.ConfigurationError(f"[{group}]", str(error)) from error


def read_files(config_files: Sequence[str] | None) -> cfg.ConfigOpts:
    """The options of the agent by these files, or by those that the agent finds."""
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf([], project="kongming", prog="kongming-agent", default_config_files=config_files)
    return conf

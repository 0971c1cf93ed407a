# SPDX-License-Identifier: Apache-2.0
"""This host as the commands of kongming-host reach it: to read, and not to change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.host.helper_threads import helpers_of
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.host.noise import read_noise
from kongming_sched.agent.host.read_only import ReadOnly
from kongming_sched.agent.inspect import disturbances
from kongming_sched.agent.inspect.compare import KernelView
from kongming_sched.agent.inspect.notes import has_huge_pages
from kongming_sched.agent.inspect.prompt import PromptHypervisor
from kongming_sched.agent.loop.parts import ReconcilerParts
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.model.guest import Guest, HelperThread, ObservedGuest, Threads, identify_or_fault
from kongming_sched.agent.model.policy import Policy
from kongming_sched.agent.settings import Settings, placement_adapter, read_files, read_settings
from kongming_sched.agent.state import released
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.agent.state.released import ReleasedFile
from kongming_sched.agent.state.reservations import RESERVATIONS_NAME, Reservations
from kongming_sched.agent.state.server_metadata import METADATA_NAME, Metadata
from kongming_sched.agent.state.starts import STARTS_NAME, Starts
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.pools import HostCpus


@dataclass(frozen=True, slots=True)
class Site:
    """The host, by the agent's configuration."""

    conf: cfg.ConfigOpts
    settings: Settings
    hypervisor: PromptHypervisor
    kernel: Host
    cpus: HostCpus

    @property
    def name(self) -> str:
        """The name of the host's provider in Placement."""
        return self.settings.host or self.hypervisor.host_name()

    @property
    def released_path(self) -> Path:
        """The file that says whom the agent leaves alone."""
        return self.settings.run_directory / released.FILE_NAME

    def running(self) -> list[ObservedGuest]:
        """Every guest that runs, as libvirt and the kernel see it."""
        running = []
        for domain in self.hypervisor.domains():
            identity, threads = identify_or_fault(domain), Threads({}, CpuSet())
            try:
                threads = self.kernel.threads(domain)
            except exceptions.GuestGone:
                continue
            except exceptions.KernelError as error:
                identity = replace(identity, fault=str(error))
            running.append(ObservedGuest(domain, identity, threads))
        return running

    def kernel_view(self, managed: Iterable[Guest], others: Iterable[ObservedGuest]) -> KernelView:
        """What the kernel says of these guests' memory and of every thread of them; what has ended is left out."""
        of_kernel = self.kernel.kernel_threads()
        memory: dict[str, CpuSet] = {}
        helpers: dict[str, list[HelperThread]] = {}
        policies: dict[str, Mapping[int, Policy]] = {}
        pages: dict[str, Mapping[tuple[int, int], int]] = {}
        for guest in (*managed, *others):
            with contextlib.suppress(exceptions.GuestGone, exceptions.KernelError):
                names = helpers_of(guest.threads, of_kernel)
                found = (self.kernel.helper(number, name) for number, name in sorted(names.items()))
                helpers[guest.uuid] = [thread for thread in found if thread is not None]
                if guest.identity.request is not None:
                    memory[guest.uuid] = self.kernel.memory_nodes(guest.domain)
                    policies[guest.uuid] = self.kernel.vcpu_policies(guest.domain)
                    if has_huge_pages(guest.identity.request):
                        pages[guest.uuid] = self.kernel.guest_pages(guest.domain)
        return KernelView(memory, helpers, policies, pages)

    def noise(self, running: Sequence[ObservedGuest]) -> list[disturbances.Disturbance]:
        """What disturbs the CPUs of the dedicated pool.

        :param running: the guests without a template
        """
        cpus = self.cpus
        noise = read_noise(cpus.pools.dedicated & cpus.topology.cpus)
        return [*disturbances.of_host(noise, cpus), *disturbances.of_unmanaged(running, cpus.pools.dedicated)]

    def kept_off(self, others: Iterable[ObservedGuest]) -> frozenset[str]:
        """The ids of the guests without a template that the agent keeps off the dedicated pool."""
        if not self.settings.confine_unmanaged:
            return frozenset()
        left_alone = released.load_released(self.released_path)
        return frozenset(guest.uuid for guest in others if not left_alone.covers(*guest.run))

    def preview(self) -> Preview:
        """What the agent would do now. Nothing is written, here or in Placement.

        :raises PlacementError: if Placement does not say what is claimed
        :raises ConfigurationError: if its credentials are missing
        """
        client = PlacementClient(ReadOnly(placement_adapter(self.conf)))
        reservations = Reservations.read_only(self.settings.run_directory / RESERVATIONS_NAME)
        parts = ReconcilerParts(
            self.hypervisor,
            self.kernel,
            NodeRegistry(client, self.name, self.hypervisor.machine_mark()),
            TemplateStore(client),
            Backoff(self.settings.interval_seconds),
            reservations,
            Metadata(self.settings.run_directory / METADATA_NAME),
            ReleasedFile(self.released_path),
            starts=Starts.read_only(self.settings.run_directory / STARTS_NAME),
        )
        return Reconciler(parts).preview(self.cpus)


def open_site(config_files: Sequence[str] | None) -> Site:
    """Read the configuration and the host.

    :raises ConfigurationError: if the host cannot have what the options ask for
    :raises HypervisorError: if libvirt does not answer
    """
    conf = read_files(config_files)
    settings = read_settings(conf)
    kernel = Host()
    hypervisor = PromptHypervisor(LibvirtHypervisor(settings.libvirt_uri), kernel)
    return Site(conf, settings, hypervisor, kernel, settings.host_cpus(hypervisor.topology(), kernel.huge_pages()))

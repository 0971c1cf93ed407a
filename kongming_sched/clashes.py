# SPDX-License-Identifier: Apache-2.0
"""Host CPUs that KongMing's options and Nova's give away twice: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet


def cpus_of_option(text: str | None, option: str) -> CpuSet:
    """The CPUs that an option names; none if it is not set.

    :raises ConfigurationError: naming the option, if the text is no CPU set
    """
    try:
        return CpuSet.parse(text or "")
    except exceptions.InvalidCpuSet as error:
        raise exceptions.ConfigurationError(option, str(error)) from error


def find_clashes(ours: Mapping[str, CpuSet], novas: Mapping[str, CpuSet]) -> Iterator[exceptions.ConfigurationError]:
    """An error for each pair of options that name the same CPUs.

    The dedicated pool may be Nova's ``cpu_dedicated_set`` as a whole: Nova then starts servers that it lays out on NUMA
    nodes on CPUs of the pool, one for each vCPU, and the agent pins them from there on. A part of it may not, for the
    rest would be taken by servers that Placement does not count on the nodes.

    :param ours: CPUs by option of ``[kongming_agent]``
    :param novas: CPUs by option of nova.conf's ``[compute]``
    """
    for option, cpus in ours.items():
        for theirs, nova_cpus in novas.items():
            if (option, theirs) == ("dedicated_cpu_set", "cpu_dedicated_set") and cpus == nova_cpus:
                continue
            if twice := cpus & nova_cpus:
                yield exceptions.ConfigurationError(
                    f"[kongming_agent] {option}",
                    f"CPU {twice} is in nova.conf's [compute] {theirs} too; take it out of one of them",
                )

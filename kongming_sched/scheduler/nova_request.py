# SPDX-License-Identifier: Apache-2.0
"""What Nova's RequestSpec asks of KongMing."""

from __future__ import annotations

import functools
from typing import Any

from nova.scheduler import utils as scheduler_utils
from nova.virt import hardware

from kongming_sched import exceptions
from kongming_sched.cpuset import CpuSet
from kongming_sched.nova_numa.keys import NovaCpuPolicy, NovaNuma
from kongming_sched.placement import flavor
from kongming_sched.request import TEMPLATE_KEY, VCPU_CLASS, PinningRequest


def names_template(spec: Any) -> bool:
    """Whether a server's flavor names a template. Nothing else of the RequestSpec is read."""
    return "extra_specs" in spec.flavor and TEMPLATE_KEY in spec.flavor.extra_specs


def pinning_request(spec: Any) -> PinningRequest | None:
    """What a server asks for; None if its flavor names no template, or for a rebuild, which stays where it is.

    :param spec: Nova's RequestSpec
    :raises InvalidRequest: naming the key that is wrong
    """
    if not names_template(spec) or scheduler_utils.request_is_rebuild(spec):
        return None
    request = _read(tuple(sorted(spec.flavor.extra_specs.items())))
    topology = spec.numa_topology if "numa_topology" in spec else None
    if request is None or (request.nova_numa is None and topology is None):
        return request
    if topology is None or request.nova_numa is None:
        if topology is None:
            reason = "Nova has no NUMA topology of the server, though the flavor asks for one"
        else:
            reason = f"cannot be combined with a NUMA topology of Nova's own, {_OF_IMAGE}"
        raise exceptions.InvalidRequest(TEMPLATE_KEY, reason)
    if difference := _difference(topology, request, request.nova_numa) or _realtime_difference(spec, request.nova_numa):
        raise exceptions.InvalidRequest(
            TEMPLATE_KEY, f"Nova's NUMA topology of the server has {difference}, {_OF_IMAGE}"
        )
    return request


_OF_IMAGE = (
    "which the image's properties or the flavor ask for (hw_numa_*, hw_cpu_policy, hw_cpu_realtime_mask,"
    " hw_mem_page_size, hw:pmem); unset them, or use another image"
)


def _difference(topology: Any, request: PinningRequest, numa: NovaNuma) -> str | None:
    """What a server's NUMA topology has that does not follow from its flavor; None if there is no such thing.

    :param topology: Nova's InstanceNUMATopology
    """
    if len(topology.cells) != len(numa.cells):
        return f"{len(topology.cells)} nodes instead of {len(numa.cells)}"
    if topology.emulator_threads_isolated != numa.has_own_emulator:
        return f"{'no' if numa.has_own_emulator else 'a'} CPU for the emulator's threads"
    for index, (cell, wanted) in enumerate(zip(topology.cells, numa.cells, strict=True)):
        if cell.memory != wanted.memory_mb:
            return f"{cell.memory} MiB on node {index} instead of {wanted.memory_mb}"
        if (cell.pagesize or None) != numa.page_kib:
            return f"pages of {cell.pagesize} KiB instead of {numa.page_kib}"
        if (cell.cpu_policy or NovaCpuPolicy.SHARED) != (policy := "mixed" if numa.pinned else numa.cpu_policy):
            return f"the CPU policy {cell.cpu_policy} instead of {policy}"
        if cell.cpu_thread_policy in ("isolate", "require"):
            return f"the CPU thread policy {cell.cpu_thread_policy}, which is the template's to say"
        if wanted.vcpus is not None and cell.total_cpus != set(wanted.vcpus):
            return f"vCPU {CpuSet.of(cell.total_cpus)} on node {index} instead of {wanted.vcpus}"
        takes = request.cells[index].resources.get(VCPU_CLASS, 0)
        if numa.pinned and len(cell.cpuset) != takes:
            return f"{len(cell.cpuset)} vCPUs that float on node {index}, where the flavor takes {takes}"
    return None


def _realtime_difference(spec: Any, numa: NovaNuma) -> str | None:
    """Which vCPUs run in real time by a server's image instead of those of its flavor; None if there is no such image.

    An image's mask comes before that of the flavor.
    """
    image = spec.image if "image" in spec else None
    if not numa.realtime or image is None:
        return None
    found = CpuSet.of(hardware.get_realtime_cpu_constraint(spec.flavor, image) or ())
    return None if found == numa.realtime else f"vCPU {found} in real time instead of {numa.realtime}"


def valid_request(spec: Any) -> PinningRequest | None:
    """What a server asks for, as :func:`pinning_request`; None if its flavor is invalid too.

    KongmingTemplateFilter refuses such a flavor and logs the reason, so that nothing else needs to.
    """
    try:
        return pinning_request(spec)
    except exceptions.InvalidRequest:
        return None


@functools.lru_cache(maxsize=256)  # each filter and weigher asks, for every server
def _read(extra_specs: tuple[tuple[str, str], ...]) -> PinningRequest | None:
    """What a flavor asks for.

    :raises InvalidRequest: naming the key that is wrong
    """
    request = PinningRequest.from_extra_specs(dict(extra_specs))
    if request is not None:
        flavor.check_request(request)
    return request

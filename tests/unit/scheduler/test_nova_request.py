# SPDX-License-Identifier: Apache-2.0
"""A server whose NUMA topology in Nova is not what its flavor's template says."""

from __future__ import annotations

from typing import Any

import pytest
from nova import objects
from nova.virt import hardware

from kongming_sched import exceptions
from kongming_sched.placement import flavor
from kongming_sched.scheduler.nova_request import pinning_request
from kongming_sched.template import PinningTemplate
from testbed.nova_objects import make_spec

DPDK = PinningTemplate.from_mapping({"name": "dpdk", "cells": [{"vcpus": "0-3", "cpus": "dedicated", "pages": "2MiB"}]})
WIDE = PinningTemplate.from_mapping(
    {
        "name": "wide",
        "guest_numa": "visible",
        "cells": [{"vcpus": "0-2", "cpus": "dedicated"}, {"vcpus": "3", "cpus": "dedicated"}],
    }
)


def spec_of(template: PinningTemplate, memory_mb: int = 1024, **image: Any) -> objects.RequestSpec:
    """What Nova asks its scheduler for a server of a template, made from an image with these properties."""
    specs = flavor.extra_specs(template, {}, vcpus=template.vcpus, memory_mb=memory_mb)
    novas = objects.Flavor(name="f", vcpus=template.vcpus, memory_mb=memory_mb, extra_specs=specs)
    meta = objects.ImageMeta(properties=objects.ImageMetaProps(**image))
    topology = hardware.numa_get_constraints(novas, meta)
    spec: objects.RequestSpec = make_spec(specs, numa_topology=topology, image=meta)
    spec.flavor = novas
    return spec


@pytest.mark.parametrize("template", [DPDK, WIDE], ids=["pages", "nodes"])
def test_what_nova_makes_of_the_flavor_follows_from_it(template: PinningTemplate) -> None:
    """Before the fit, and after it, when Nova has written the nodes into the topology."""
    spec = spec_of(template)
    request = pinning_request(spec)
    assert request is not None
    for index, cell in enumerate(spec.numa_topology.cells):
        cell.id, cell.cpu_pinning = index, {vcpu: vcpu for vcpu in cell.pcpuset}
    assert request == pinning_request(spec)


def test_an_image_may_ask_for_the_same() -> None:
    """One node."""
    assert pinning_request(spec_of(DPDK, hw_numa_nodes=1)) is not None


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        pytest.param({"hw_numa_nodes": 2}, "has 2 nodes instead of 1", id="more nodes"),
        pytest.param({"hw_cpu_thread_policy": "isolate"}, "has the CPU thread policy isolate", id="a thread policy"),
    ],
)
def test_an_image_that_asks_for_another_layout_is_refused(image: dict[str, Any], reason: str) -> None:
    """With what it asks for, and what to do."""
    with pytest.raises(exceptions.InvalidRequest, match=reason) as caught:
        pinning_request(spec_of(DPDK, **image))
    assert "unset them, or use another image" in caught.value.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"memory": 2048}, "has 2048 MiB on node 0 instead of 768", id="memory"),
        pytest.param({"pagesize": 2048}, "has pages of 2048 KiB instead of None", id="pages"),
        pytest.param({"cpu_policy": "shared"}, "has the CPU policy shared instead of dedicated", id="policy"),
        pytest.param({"pcpuset": {0, 1}}, "has vCPU 0-1 on node 0 instead of 0-2", id="vCPUs"),
    ],
)
def test_a_cell_that_differs_is_refused(change: dict[str, Any], reason: str) -> None:
    """As after a change of the flavor beside its servers."""
    spec = spec_of(WIDE)
    for name, value in change.items():
        setattr(spec.numa_topology.cells[0], name, value)
    with pytest.raises(exceptions.InvalidRequest, match=reason):
        pinning_request(spec)


RAN = PinningTemplate.from_mapping(
    {"name": "ran", "cells": [{"vcpus": "0-3", "cpus": "dedicated"}], "realtime": {"vcpus": "2-3"}}
)
ALL = PinningTemplate.from_mapping(
    {
        "name": "ran",
        "cells": [{"vcpus": "0-3", "cpus": "dedicated"}],
        "realtime": {"vcpus": "0-3"},
        "emulator": "own",
    }
)


MIXED = PinningTemplate.from_mapping(
    {"name": "mixed", "cells": [{"vcpus": "0-3", "cpus": "dedicated", "shared_vcpus": "0", "pages": "2MiB"}]}
)
ALL_BUT_ONE = PinningTemplate.from_mapping(
    {
        "name": "mixed",
        "cells": [{"vcpus": "0-3", "cpus": "dedicated", "shared_vcpus": "0"}],
        "realtime": {"vcpus": "1-3"},
        "emulator": "own",
    }
)


@pytest.mark.parametrize("template", [MIXED, ALL_BUT_ONE], ids=["pages", "real time"])
def test_vcpus_that_float_follow_from_the_flavor(template: PinningTemplate) -> None:
    """Nova takes the keys, and makes of them what the request says."""
    request = pinning_request(spec_of(template))
    assert request is not None
    assert request.nova_numa is not None
    assert template.pinned_vcpus == request.nova_numa.pinned


def test_more_vcpus_that_float_than_are_claimed_are_refused() -> None:
    """As by a mask that was written by hand."""
    spec = spec_of(MIXED)
    spec.numa_topology.cells[0].cpuset, spec.numa_topology.cells[0].pcpuset = {0, 1}, {2, 3}
    with pytest.raises(exceptions.InvalidRequest, match="has 2 vCPUs that float on node 0, where the flavor takes 1"):
        pinning_request(spec)


@pytest.mark.parametrize("template", [RAN, ALL], ids=["one vCPU is left", "the emulator has its own CPU"])
def test_real_time_follows_from_the_flavor(template: PinningTemplate) -> None:
    """Nova takes the keys, and makes of them what the request says."""
    request = pinning_request(spec_of(template))
    assert request is not None
    assert request.nova_numa is not None
    assert template.realtime_vcpus == request.nova_numa.realtime


def test_an_image_may_name_the_same_vcpus_for_real_time() -> None:
    """In other words."""
    assert pinning_request(spec_of(RAN, hw_cpu_realtime_mask="^0-1")) is not None


def test_an_image_that_names_others_is_refused() -> None:
    """Nova would take its mask instead of the flavor's."""
    with pytest.raises(exceptions.InvalidRequest, match="has vCPU 1-3 in real time instead of 2-3") as caught:
        pinning_request(spec_of(RAN, hw_cpu_realtime_mask="^0"))
    assert "hw_cpu_realtime_mask" in caught.value.reason


def test_an_emulator_without_the_cpu_of_its_own_is_refused() -> None:
    """As after a change of the flavor beside its servers."""
    spec = spec_of(ALL)
    spec.numa_topology.emulator_threads_policy = None
    with pytest.raises(exceptions.InvalidRequest, match="has no CPU for the emulator's threads"):
        pinning_request(spec)


def test_emulator_threads_of_novas_own_are_refused() -> None:
    """They would take a CPU that nothing has claimed."""
    spec = spec_of(WIDE)
    spec.numa_topology.emulator_threads_policy = "isolate"
    with pytest.raises(exceptions.InvalidRequest, match="has a CPU for the emulator's threads"):
        pinning_request(spec)


def test_a_server_that_nova_does_not_lay_out_is_refused() -> None:
    """Nova's scheduler loses the topology if its own fit fails between two servers of a request."""
    spec = spec_of(WIDE)
    spec.numa_topology = None
    with pytest.raises(exceptions.InvalidRequest, match="Nova has no NUMA topology of the server"):
        pinning_request(spec)

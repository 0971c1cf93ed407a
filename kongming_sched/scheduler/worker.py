# SPDX-License-Identifier: Apache-2.0
"""What the filters and weighers of one nova-scheduler worker share: Nova's options, its request, and one snapshot."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import nova.conf
from keystoneauth1 import exceptions as ksa_exceptions
from nova import exception as nova_exception
from nova import utils as nova_utils
from nova.scheduler import utils as scheduler_utils
from openstack import exceptions as sdk_exceptions

from kongming_sched import compat, exceptions
from kongming_sched.placement import flavor
from kongming_sched.placement.client import PlacementClient
from kongming_sched.request import TEMPLATE_KEY, NumaStrategy, PinningRequest
from kongming_sched.scheduler.announcement import Announcement
from kongming_sched.scheduler.snapshot import NodeSnapshot

CONF = nova.conf.CONF


def names_template(spec: Any) -> bool:
    """Whether a server's flavor names a template; Nova's RequestSpec is looked at no further."""
    return "extra_specs" in spec.flavor and TEMPLATE_KEY in spec.flavor.extra_specs


def pinning_request(spec: Any) -> PinningRequest | None:
    """What a server asks; None if its flavor names no template, or for a rebuild, which stays where it is.

    :param spec: Nova's RequestSpec
    :raises InvalidRequest: naming the key that is wrong
    """
    if not names_template(spec) or scheduler_utils.request_is_rebuild(spec):
        return None
    request = _read(tuple(sorted(spec.flavor.extra_specs.items())))
    if "numa_topology" in spec and spec.numa_topology is not None:
        raise exceptions.InvalidRequest(
            TEMPLATE_KEY,
            "cannot be combined with a NUMA topology of Nova's own, which the image's properties or the flavor ask for"
            " (hw_numa_*, hw_cpu_policy, hw_mem_page_size, hw:pmem); unset them, or use another image",
        )
    return request


@functools.lru_cache(maxsize=256)  # each filter and weigher asks, for every server
def _read(extra_specs: tuple[tuple[str, str], ...]) -> PinningRequest | None:
    """What a flavor asks.

    :raises InvalidRequest: naming the key that is wrong
    """
    request = PinningRequest.from_extra_specs(dict(extra_specs))
    if request is not None:
        flavor.check_request(request)
    return request


def valid_request(spec: Any) -> PinningRequest | None:
    """The same, but None for a wrong flavor too: KongmingTemplateFilter refuses that one and says why."""
    try:
        return pinning_request(spec)
    except exceptions.InvalidRequest:
        return None


def numa_strategy(request: PinningRequest) -> NumaStrategy:
    """The flavor's strategy, or else the configured one."""
    return request.strategy or NumaStrategy(CONF.kongming_scheduler.numa_strategy)


def multiplier(host_state: Any, option: str) -> float:
    """A weigher's multiplier for a host: that of the host's aggregates, or else the configured one."""
    configured = CONF.kongming_scheduler[option]
    return float(scheduler_utils.get_weight_multiplier(host_state, option, configured))


def is_wanted(host_states: Iterable[Any], option: str) -> bool:
    """Whether a weigher's multiplier may be other than 0 for one of the hosts.

    Hosts share their aggregates, of which there are few.
    """
    if CONF.kongming_scheduler[option]:
        return True
    aggregates = {id(aggregate): aggregate for host_state in host_states for aggregate in host_state.aggregates}
    return any(option in aggregate.metadata for aggregate in aggregates.values())


def make_client() -> PlacementClient:
    """A client with the credentials of nova.conf.

    :raises PlacementUnavailable: if they do not lead to Placement
    """
    try:
        return PlacementClient(compat.admin_adapter(nova_utils.get_sdk_adapter, "placement"))
    except (
        nova_exception.NovaException,
        ksa_exceptions.ClientException,
        sdk_exceptions.SDKException,
    ) as error:
        raise exceptions.PlacementUnavailable("be found by [placement] of nova.conf", str(error)) from error


def make_snapshot() -> NodeSnapshot:
    """A snapshot by the options of nova.conf, which is announced in the log. No option is read yet."""
    return NodeSnapshot(
        make_client,
        lambda: float(CONF.kongming_scheduler.snapshot_ttl_seconds),
        announce=Announcement(lambda: CONF.filter_scheduler.enabled_filters),
    )


SNAPSHOT = make_snapshot()
"""The worker's one picture of all NUMA nodes."""

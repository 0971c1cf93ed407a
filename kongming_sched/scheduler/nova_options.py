# SPDX-License-Identifier: Apache-2.0
"""The options of nova.conf that apply to one request: its NUMA strategy, and the weighers' multipliers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import nova.conf
from nova.scheduler import utils as scheduler_utils

from kongming_sched.request import NumaStrategy, PinningRequest

CONF = nova.conf.CONF


def numa_strategy(request: PinningRequest) -> NumaStrategy:
    """The flavor's strategy, or else the configured one."""
    return request.strategy or NumaStrategy(CONF.kongming_scheduler.numa_strategy)


def multiplier(host_state: Any, option: str) -> float:
    """A weigher's multiplier for a host: that of the host's aggregates, or else the configured one."""
    configured = CONF.kongming_scheduler[option]
    return float(scheduler_utils.get_weight_multiplier(host_state, option, configured))


def may_weigh(host_states: Iterable[Any], option: str) -> bool:
    """Whether a weigher's multiplier may be other than 0 for one of the hosts.

    Hosts share their aggregates, of which there are few.
    """
    if CONF.kongming_scheduler[option]:
        return True
    aggregates = {id(aggregate): aggregate for host_state in host_states for aggregate in host_state.aggregates}
    return any(option in aggregate.metadata for aggregate in aggregates.values())

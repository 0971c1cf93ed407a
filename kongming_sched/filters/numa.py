# SPDX-License-Identifier: Apache-2.0
"""KongmingNumaFilter: puts the candidate first whose NUMA nodes the server should take, and leads Nova to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nova.scheduler import filters
from oslo_log import log as logging

from kongming_sched.placement.candidates import Mismatch
from kongming_sched.request import NumaStrategy, PinningRequest
from kongming_sched.scheduler import nova_options, nova_request, worker
from kongming_sched.scheduler.host_claims import HostClaims
from kongming_sched.scheduler.numa_fit import NumaFit
from kongming_sched.scheduler.ordering import Candidate, HostUse, order

LOG = logging.getLogger(__name__)


class KongmingNumaFilter(filters.BaseHostFilter):
    """Order the candidates of each host by the NUMA strategy, and drop none.

    Nova claims a host's first candidate. Enable this filter after all other filters: of servers that Nova itself lays
    out on nodes, as those with huge pages, it puts the first candidate in front whose nodes Nova takes, and writes
    limits that lead nova-compute to them. It rejects hosts only on which Nova takes none of them.
    """

    def filter_all(self, filter_obj_list: Iterable[Any], spec_obj: Any) -> Iterable[Any]:
        """Run once per server."""
        request = nova_request.valid_request(spec_obj)
        if request is None:
            return filter_obj_list
        host_states = list(filter_obj_list)
        view = worker.SNAPSHOT.get()
        strategy = nova_options.numa_strategy(request)
        others = worker.UNDER_WAY.others(spec_obj, view)
        for host_state in host_states:
            claims = HostClaims.of(host_state, request)
            use = claims.use(view, others.of(claims.root_uuid))
            candidates = _order(host_state, request, strategy, spec_obj.instance_uuid, claims, use)
            host_state.allocation_candidates = candidates
        left = _led(host_states, request, spec_obj) if request.nova_numa else host_states
        worker.UNDER_WAY.filtered(spec_obj, request, left, others)
        return left


def _order(
    host_state: Any,
    request: PinningRequest,
    strategy: NumaStrategy,
    server_id: str,
    claims: HostClaims,
    use: HostUse,
) -> list[Any]:
    """The candidates of a host, the best first; those that do not honour the request come last."""
    given = list(host_state.allocation_candidates or ())
    candidates, others = [], []
    for position, candidate in enumerate(given):
        nodes = claims.nodes_of(candidate, request)
        if isinstance(nodes, Mismatch):
            others.append(candidate)
        else:
            candidates.append(Candidate(position, nodes))
    ordered = order(candidates, request, strategy, server_id, use)
    return [given[candidate.position] for candidate in ordered] + others


def _led(host_states: Iterable[Any], request: PinningRequest, spec: Any) -> list[Any]:
    """The hosts on which Nova takes the nodes of a candidate, which is then the first, with limits that lead there."""
    fit = NumaFit(spec)
    led, refused = [], ""
    for host_state in host_states:
        claims = HostClaims.of(host_state, request)
        given = list(host_state.allocation_candidates)
        found = [claims.nodes_of(candidate, request) for candidate in given]
        choice = fit.choose(
            host_state, [(i, nodes) for i, nodes in enumerate(found) if not isinstance(nodes, Mismatch)]
        )
        if isinstance(choice, str):
            refused = f"{host_state.host}: {choice}"
            LOG.debug("%s fails template %s: %s", host_state.host, request.template, choice)
            continue
        first = given.pop(choice.position)
        host_state.allocation_candidates = [first, *given]
        host_state.limits["numa_topology"] = choice.limits
        led.append(host_state)
    if refused and not led:
        LOG.warning("No host for server %s of template %s; of %s", spec.instance_uuid, request.template, refused)
    return led

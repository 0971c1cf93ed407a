# SPDX-License-Identifier: Apache-2.0
"""KongmingNumaFilter: puts the candidate first whose NUMA nodes the server should take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nova.scheduler import filters

from kongming_sched.placement.candidates import Mismatch
from kongming_sched.request import NumaStrategy, PinningRequest
from kongming_sched.scheduler import nova_options, nova_request, worker
from kongming_sched.scheduler.host_claims import HostClaims
from kongming_sched.scheduler.ordering import Candidate, HostUse, order


class KongmingNumaFilter(filters.BaseHostFilter):
    """Order the candidates of each host by the NUMA strategy; rejects no host and drops no candidate.

    Nova claims a host's first candidate. Enable this filter after all filters that drop candidates.
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
        worker.UNDER_WAY.filtered(spec_obj, request, host_states)
        return host_states


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

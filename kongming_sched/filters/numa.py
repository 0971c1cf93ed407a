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
from kongming_sched.scheduler.ordering import Candidate, order
from kongming_sched.scheduler.snapshot import CloudView


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
        for host_state in host_states:
            candidates = _order(host_state, request, strategy, spec_obj.instance_uuid, view)
            host_state.allocation_candidates = candidates
        return host_states


def _order(
    host_state: Any, request: PinningRequest, strategy: NumaStrategy, server_id: str, view: CloudView | None
) -> list[Any]:
    """The candidates of a host, the best first; those that do not honour the request come last."""
    claims = HostClaims.of(host_state, request)
    given = list(host_state.allocation_candidates or ())
    candidates, others = [], []
    for position, candidate in enumerate(given):
        nodes = claims.nodes_of(candidate, request)
        if isinstance(nodes, Mismatch):
            others.append(candidate)
        else:
            candidates.append(Candidate(position, nodes))
    ordered = order(candidates, request, strategy, server_id, claims.use(view))
    return [given[candidate.position] for candidate in ordered] + others

# SPDX-License-Identifier: Apache-2.0
"""KongmingPackingWeigher: fills NUMA nodes, so that large servers find whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kongming_sched.request import NumaStrategy
from kongming_sched.scheduler import host_claims, nova_options, nova_request, worker
from kongming_sched.scheduler.ordering import hash_fraction
from kongming_sched.weighers.weigher import KongmingWeigher


class KongmingPackingWeigher(KongmingWeigher):
    """Pull servers of templates to the host whose chosen NUMA node is left with the least room.

    The weight is minus what stays free there: dedicated CPUs, or, for cells that take none, shared CPUs or memory. A
    host of which that is not known weighs as the worst of the others. Servers of the strategy ``scatter`` get a host at
    random instead, by a hash of their id: many that are scheduled at the same time would all choose the same host, and
    all but the first would have their claims refused. Servers without a template are not pulled.
    """

    option = "packing_weight_multiplier"

    def _weigh(self, host_states: Sequence[Any], spec: Any) -> list[float] | None:
        request = nova_request.valid_request(spec)
        if request is None:
            return None
        if nova_options.numa_strategy(request) is NumaStrategy.SCATTER:
            return [hash_fraction(spec.instance_uuid, host_state.uuid) for host_state in host_states]
        view = worker.SNAPSHOT.get()
        left = [host_claims.stranded_room(host_state, request, view) for host_state in host_states]
        worst = max((amount for amount in left if amount is not None), default=0)
        return [-float(worst if amount is None else amount) for amount in left]

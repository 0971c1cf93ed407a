# SPDX-License-Identifier: Apache-2.0
"""KongmingPackingWeigher: fills NUMA nodes, so that large servers find whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kongming_sched.request import NumaStrategy
from kongming_sched.scheduler import host_claims, nova_options, nova_request, ordering, worker
from kongming_sched.scheduler.ordering import hash_fraction
from kongming_sched.weighers.weigher import KongmingWeigher


class KongmingPackingWeigher(KongmingWeigher):
    """Pull servers of templates to the host whose chosen NUMA node is left with the least room.

    The weight is minus what stays free there: dedicated CPUs, or, for cells that take none, shared CPUs or memory. A
    host of which that is not known weighs as the worst of the others, and one that other requests of this worker are
    about to fill as worse than all. While such requests are under way, each worker prefers others of the hosts that
    differ by some servers, so that workers which do not know of each other fill different hosts, and a host weighs less
    by one server for each claim on it that is under way.

    Servers of the strategy ``scatter`` get a host at random instead, by a hash of their id. Servers without a template
    are not pulled.
    """

    option = "packing_weight_multiplier"

    def weigh_objects(self, weighed_obj_list: Sequence[Any], weight_properties: Any) -> list[float]:
        """Weigh all hosts at once, and let other requests know of it."""
        worker.UNDER_WAY.weighed(weight_properties, weighed_obj_list)
        return super().weigh_objects(weighed_obj_list, weight_properties)

    def _weigh(self, host_states: Sequence[Any], spec: Any) -> list[float] | None:
        request = nova_request.valid_request(spec)
        if request is None:
            return None
        if nova_options.numa_strategy(request) is NumaStrategy.SCATTER:
            return [hash_fraction(spec.instance_uuid, host_state.uuid) for host_state in host_states]
        view = worker.SNAPSHOT.get()
        others = worker.UNDER_WAY.others_as_filtered(spec, view)
        unit = ordering.scarce_amount(request)
        roots = [str(host_state.uuid) for host_state in host_states]
        known = [
            host_claims.stranded_room(host_state, request, view, others.of(root))
            for host_state, root in zip(host_states, roots, strict=True)
        ]
        worst = max((amount for amount in known if amount is not None and amount > 0), default=0)
        costs = [
            (worst if amount is None else amount) + others.detour(root, unit)
            for amount, root in zip(known, roots, strict=True)
        ]
        full = max(costs) + unit
        return [
            -(full if amount is not None and amount < 0 else cost) for amount, cost in zip(known, costs, strict=True)
        ]

# SPDX-License-Identifier: Apache-2.0
"""KongmingReserveWeigher: keeps hosts with free dedicated CPUs for the servers that need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kongming_sched.scheduler import nova_options, nova_request, worker
from kongming_sched.weighers.weigher import KongmingWeigher


class KongmingReserveWeigher(KongmingWeigher):
    """Push servers without a template away from hosts with free CPUs in a dedicated pool.

    The weight is minus the number of these CPUs. Servers of templates are not pushed. With a multiplier of 0, which is
    the default, Placement is not asked.
    """

    option = "reserve_weight_multiplier"

    def _weigh(self, host_states: Sequence[Any], spec: Any) -> list[float] | None:
        if nova_request.names_template(spec) or not nova_options.may_weigh(host_states, self.option):
            return None
        view = worker.SNAPSHOT.get()
        free = view.free_pcpus if view else {}
        return [-float(free.get(host_state.uuid, 0)) for host_state in host_states]

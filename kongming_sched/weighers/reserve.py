# SPDX-License-Identifier: Apache-2.0
"""KongmingReserveWeigher: keeps hosts with free dedicated CPUs for the servers that need them."""

from __future__ import annotations

from typing import Any

from nova.scheduler import weights

from kongming_sched.filters import cloud


class KongmingReserveWeigher(weights.BaseHostWeigher):
    """Push servers without a template away from hosts with free CPUs in a dedicated pool.

    The weight is minus the number of these CPUs. Servers of templates are not pushed. With a multiplier of 0, which is
    the default, Placement is not even asked.
    """

    def weight_multiplier(self, host_state: Any) -> float:
        """``[kongming_scheduler] reserve_weight_multiplier`` or the aggregate's."""
        return cloud.multiplier(host_state, "reserve_weight_multiplier")

    def weigh_objects(self, weighed_obj_list: list[Any], weight_properties: Any) -> list[float]:
        """Weigh all hosts at once."""
        if cloud.names_template(weight_properties) or not any(map(self._matters, weighed_obj_list)):
            return [0.0] * len(weighed_obj_list)
        view = cloud.SNAPSHOT.get()
        free = view.free_pcpus if view else {}
        return [-float(free.get(weighed.obj.uuid, 0)) for weighed in weighed_obj_list]

    def _matters(self, weighed: Any) -> bool:
        return self.weight_multiplier(weighed.obj) != 0

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:
        """Weigh one host alone."""
        return self.weigh_objects([weights.WeighedHost(obj, 0.0)], weight_properties)[0]

# SPDX-License-Identifier: Apache-2.0
"""KongmingPackingWeigher: fills NUMA nodes, so that large servers find whole ones."""

from __future__ import annotations

from typing import Any

from nova.scheduler import weights

from kongming_sched.filters import book, cloud


class KongmingPackingWeigher(weights.BaseHostWeigher):
    """Pull servers of templates to the host whose chosen NUMA node is left with the least room.

    The weight is minus what stays free there: dedicated CPUs, or for cells without any shared CPUs or memory. A host
    of which that is not known weighs as the worst of the others. Servers without a template are not pulled.
    """

    def weight_multiplier(self, host_state: Any) -> float:
        """``[kongming_scheduler] packing_weight_multiplier`` or the aggregate's."""
        return cloud.multiplier(host_state, "packing_weight_multiplier")

    def weigh_objects(self, weighed_obj_list: list[Any], weight_properties: Any) -> list[float]:
        """Weigh all hosts at once."""
        request = cloud.valid_request(weight_properties)
        if request is None:
            return [0.0] * len(weighed_obj_list)
        view = cloud.SNAPSHOT.get()
        left = [book.stranded_room(weighed.obj, request, view) for weighed in weighed_obj_list]
        worst = max((amount for amount in left if amount is not None), default=0)
        return [-float(worst if amount is None else amount) for amount in left]

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:
        """Weigh one host alone."""
        return self.weigh_objects([weights.WeighedHost(obj, 0.0)], weight_properties)[0]

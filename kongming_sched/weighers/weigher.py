# SPDX-License-Identifier: Apache-2.0
"""What KongMing's weighers have in common."""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import Any

from nova.scheduler import weights

from kongming_sched.scheduler import nova_options


class KongmingWeigher(weights.BaseHostWeigher, abc.ABC):
    """Weighs all hosts of a request at once, and costs next to nothing for requests to which it does not apply.

    Nova's handler asks for the multiplier of each host right after the weights, in the same thread. Where all weights
    are 0 a multiplier makes no difference, so neither the option nor the aggregates of hosts are read.

    :cvar option: the option that holds the multiplier, and the metadata key by which aggregates override it
    """

    option: str

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def weight_multiplier(self, host_state: Any) -> float:
        """The multiplier of the host's aggregates, or else the option; 0 after a request without weights."""
        return 0.0 if getattr(self._of_thread, "is_idle", False) else nova_options.multiplier(host_state, self.option)

    def weigh_objects(self, weighed_obj_list: Sequence[Any], weight_properties: Any) -> list[float]:
        """Weigh all hosts at once."""
        found = self._weigh([weighed.obj for weighed in weighed_obj_list], weight_properties)
        self._of_thread.is_idle = found is None
        return [0.0] * len(weighed_obj_list) if found is None else found

    @abc.abstractmethod
    def _weigh(self, host_states: Sequence[Any], spec: Any) -> list[float] | None:
        """The weight of each host; None if the weigher does not apply to such a server."""

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:
        """Weigh one host alone."""
        return self.weigh_objects([weights.WeighedHost(obj, 0.0)], weight_properties)[0]

# SPDX-License-Identifier: Apache-2.0
"""KongmingTemplateAffinityWeigher: packs or spreads the servers of a template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kongming_sched.scheduler import servers, worker
from kongming_sched.scheduler.book import Book
from kongming_sched.weighers.weigher import KongmingWeigher


class KongmingTemplateAffinityWeigher(KongmingWeigher):
    """Pull servers of a template to hosts where servers of the same template are, or push them away.

    The weight is the number of these servers; the sign of the multiplier says which way it pulls. Servers that the
    same request has put on a host count as well, and the one that is being moved does not. With a multiplier of 0,
    which is the default, nothing is looked up.
    """

    option = "template_affinity_weight_multiplier"

    def _weigh(self, host_states: Sequence[Any], spec: Any) -> list[float] | None:
        request = worker.valid_request(spec)
        if request is None or not worker.is_wanted(host_states, self.option):
            return None
        counts = servers.MEMORY.count(host_states, request.template, besides=spec.instance_uuid)
        return [
            float(count + Book.of(host_state, request).taken)
            for host_state, count in zip(host_states, counts, strict=True)
        ]

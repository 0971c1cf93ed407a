# SPDX-License-Identifier: Apache-2.0
"""KongmingTemplateAffinityWeigher: packs or spreads the servers of a template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kongming_sched.scheduler import nova_options, nova_request, server_templates
from kongming_sched.scheduler.host_claims import HostClaims
from kongming_sched.weighers.weigher import KongmingWeigher


class KongmingTemplateAffinityWeigher(KongmingWeigher):
    """Pull servers of a template to hosts where servers of the same template are, or push them away.

    The weight is the number of these servers; the sign of the multiplier says which way it pulls. Servers that the
    same request has put on a host count too; a server that is being moved does not. With a multiplier of 0, which is
    the default, no server is read.
    """

    option = "template_affinity_weight_multiplier"

    def _weigh(self, host_states: Sequence[Any], spec: Any) -> list[float] | None:
        request = nova_request.valid_request(spec)
        if request is None or not nova_options.may_weigh(host_states, self.option):
            return None
        counts = server_templates.SERVER_TEMPLATES.count(host_states, request.template, besides=spec.instance_uuid)
        return [
            float(count + HostClaims.of(host_state, request).servers)
            for host_state, count in zip(host_states, counts, strict=True)
        ]

# SPDX-License-Identifier: Apache-2.0
"""KongmingTemplateFilter: keeps the candidates that honour a server's template, and refuses invalid flavors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nova.scheduler import filters
from oslo_log import log as logging

from kongming_sched import exceptions
from kongming_sched.placement.candidates import Mismatch
from kongming_sched.request import PinningRequest
from kongming_sched.scheduler import nova_request
from kongming_sched.scheduler.host_claims import HostClaims
from kongming_sched.scheduler.pass_state import own_states
from kongming_sched.texts.printable import clean
from kongming_sched.texts.sentences import sentence

LOG = logging.getLogger(__name__)


class KongmingTemplateFilter(filters.BaseHostFilter):
    """Keep the candidates that put every cell on one NUMA node of the host, cells on different nodes.

    A host without such a candidate is rejected. A flavor that names a template, but lacks the request groups of the
    template, gets no host. Servers without a template pass. Enable this filter before all filters that read candidates.
    """

    def filter_all(self, filter_obj_list: Iterable[Any], spec_obj: Any) -> Iterable[Any]:
        """Run once per server."""
        try:
            request = nova_request.pinning_request(spec_obj)
        except exceptions.InvalidRequest as error:
            LOG.warning(
                "No host for server %s, flavor %s: %s 'openstack kongming flavor show' says what the flavor asks for.",
                spec_obj.instance_uuid,
                clean(spec_obj.flavor.name),
                sentence(clean(str(error))),
            )
            return []
        if request is None:
            return filter_obj_list
        host_states = own_states(filter_obj_list) if request.nova_numa else filter_obj_list
        return [host_state for host_state in host_states if self._keep(host_state, request)]

    def _keep(self, host_state: Any, request: PinningRequest) -> bool:
        """Replace the host's candidates by those that honour the request; False if there is none."""
        claims = HostClaims.of(host_state, request)
        kept = []
        reason = "no candidate is left"
        for candidate in host_state.allocation_candidates or ():
            found = claims.locate(candidate, request)
            if isinstance(found, Mismatch):
                reason = found.reason
            else:
                kept.append(candidate)
        host_state.allocation_candidates = kept
        if not kept:
            LOG.debug("%s fails template %s: %s", host_state.host, request.template, reason)
        return bool(kept)

# SPDX-License-Identifier: Apache-2.0
"""What Nova's RequestSpec asks of KongMing."""

from __future__ import annotations

import functools
from typing import Any

from nova.scheduler import utils as scheduler_utils

from kongming_sched import exceptions
from kongming_sched.placement import flavor
from kongming_sched.request import TEMPLATE_KEY, PinningRequest


def names_template(spec: Any) -> bool:
    """Whether a server's flavor names a template. Nothing else of the RequestSpec is read."""
    return "extra_specs" in spec.flavor and TEMPLATE_KEY in spec.flavor.extra_specs


def pinning_request(spec: Any) -> PinningRequest | None:
    """What a server asks for; None if its flavor names no template, or for a rebuild, which stays where it is.

    :param spec: Nova's RequestSpec
    :raises InvalidRequest: naming the key that is wrong
    """
    if not names_template(spec) or scheduler_utils.request_is_rebuild(spec):
        return None
    request = _read(tuple(sorted(spec.flavor.extra_specs.items())))
    if "numa_topology" in spec and spec.numa_topology is not None:
        raise exceptions.InvalidRequest(
            TEMPLATE_KEY,
            "cannot be combined with a NUMA topology of Nova's own, which the image's properties or the flavor ask for"
            " (hw_numa_*, hw_cpu_policy, hw_mem_page_size, hw:pmem); unset them, or use another image",
        )
    return request


def valid_request(spec: Any) -> PinningRequest | None:
    """What a server asks for, as :func:`pinning_request`; None if its flavor is invalid too.

    KongmingTemplateFilter refuses such a flavor and logs the reason, so that nothing else needs to.
    """
    try:
        return pinning_request(spec)
    except exceptions.InvalidRequest:
        return None


@functools.lru_cache(maxsize=256)  # each filter and weigher asks, for every server
def _read(extra_specs: tuple[tuple[str, str], ...]) -> PinningRequest | None:
    """What a flavor asks for.

    :raises InvalidRequest: naming the key that is wrong
    """
    request = PinningRequest.from_extra_specs(dict(extra_specs))
    if request is not None:
        flavor.check_request(request)
    return request

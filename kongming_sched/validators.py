# SPDX-License-Identifier: Apache-2.0
"""nova-api's checks of the extra specs ``kongming:*`` (API microversion 2.86 and later).

nova-api cannot cope with a module of validators that does not import, and so this one always does: where Nova's base
class is not what it was there are no checks, and the scheduler's filter refuses what is wrong.
"""

from __future__ import annotations

import logging
from typing import Any

from kongming_sched.nova_numa.keys import DEVICES_KEY, LOCAL
from kongming_sched.request import STRATEGY_KEY, TEMPLATE_KEY, NumaStrategy
from kongming_sched.template import NAME

LOG = logging.getLogger(__name__)


def register() -> list[Any]:
    """The validators, as nova-api asks for them."""
    try:
        from nova.api.validation.extra_specs import base

        return [
            base.ExtraSpecValidator(
                name=TEMPLATE_KEY,
                description=(
                    "The pinning template of the servers. Set it with 'openstack kongming flavor set', which writes the"
                    " other keys that belong to it."
                ),
                value={"type": str, "pattern": NAME.pattern},
            ),
            base.ExtraSpecValidator(
                name=STRATEGY_KEY,
                description="Which NUMA node of a host a server takes when several fit.",
                value={"type": str, "description": "Overrides numa_strategy.", "enum": [str(s) for s in NumaStrategy]},
            ),
            base.ExtraSpecValidator(
                name=DEVICES_KEY,
                description="That devices are on the NUMA nodes of the server, as its template says.",
                value={"type": str, "enum": [LOCAL]},
            ),
        ]
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        LOG.warning("Extra specs of KongMing are not checked by nova-api: %r", error)
        return []

# SPDX-License-Identifier: Apache-2.0
"""KongMing's weighers for Nova's scheduler."""

from __future__ import annotations

import nova.conf
from nova.scheduler import weights

from kongming_sched.conf import scheduler
from kongming_sched.scheduler import plugins


def all_weighers() -> list[type]:
    """All weighers of the entry point group ``kongming_sched.weighers``.

    For ``[filter_scheduler] weight_classes``, beside ``nova.scheduler.weights.all_weighers``.

    :raises ConfigurationError: naming a weigher that does not load
    """
    scheduler.register_opts(nova.conf.CONF)
    return plugins.load("kongming_sched.weighers", weights.BaseHostWeigher, "[filter_scheduler] weight_classes")

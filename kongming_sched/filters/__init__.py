# SPDX-License-Identifier: Apache-2.0
"""KongMing's filters for Nova's scheduler."""

from __future__ import annotations

import nova.conf
from nova.scheduler import filters

from kongming_sched.conf import scheduler
from kongming_sched.scheduler import plugins


def all_filters() -> list[type]:
    """All filters of the entry point group ``kongming_sched.filters``.

    For ``[filter_scheduler] available_filters``, beside ``nova.scheduler.filters.all_filters``.

    :raises ConfigurationError: naming a filter that does not load
    """
    scheduler.register_opts(nova.conf.CONF)
    return plugins.load("kongming_sched.filters", filters.BaseHostFilter, "[filter_scheduler] available_filters")

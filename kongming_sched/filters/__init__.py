# SPDX-License-Identifier: Apache-2.0
"""KongMing's filters for Nova's scheduler."""

from __future__ import annotations

from importlib import metadata

import nova.conf
from nova.scheduler import filters, host_manager

from kongming_sched import compat, exceptions
from kongming_sched.conf import scheduler
from kongming_sched.scheduler import plugins

_OPTION = "[filter_scheduler] available_filters"


def all_filters() -> list[type]:
    """All filters of the entry point group ``kongming_sched.filters``.

    For ``[filter_scheduler] available_filters``, beside ``nova.scheduler.filters.all_filters``.

    :raises ConfigurationError: naming a filter that does not load, or if Nova is too old
    """
    if not compat.filters_get_candidates(host_manager.HostState):
        raise exceptions.ConfigurationError(
            _OPTION,
            f"Nova {metadata.version('nova')} is too old for KongMing: its scheduler hands no allocation candidates to"
            " filters, as it does from Nova 27 on; KongMing is tested from Nova 29 (2024.1) on",
        )
    scheduler.register_opts(nova.conf.CONF)
    return plugins.load("kongming_sched.filters", filters.BaseHostFilter, _OPTION)

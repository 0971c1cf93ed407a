# SPDX-License-Identifier: Apache-2.0
"""The one line in which each worker of nova-scheduler says what it has found of KongMing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.scheduler import plugins

LOG = logging.getLogger(__name__)

_SHOWN = 10
"""How many templates are named before the others are counted."""


class Announcement:
    """Logs when Placement has been asked for the first time, and again if it had no answer then and has one later.

    :param enabled_filters: tells the names of the filters that nova.conf enables
    """

    def __init__(self, enabled_filters: Callable[[], Iterable[str]]) -> None:
        self._enabled_filters = enabled_filters
        self._has_told_of_placement = False
        self._has_told = False

    def __call__(self, found: Sequence[ProviderSummary] | Exception) -> None:
        """Log it, unless that was done before.

        :param found: all node providers, or what kept them from being read
        """
        has_failed = isinstance(found, Exception)
        if self._has_told_of_placement or (self._has_told and has_failed):
            return
        self._has_told, self._has_told_of_placement = True, not has_failed
        LOG.info("KongMing has %s; %s. %s", self._filters(), _weighers(), _cloud(found))

    def _filters(self) -> str:
        enabled = set(self._enabled_filters())
        loaded = plugins.LOADED.get("kongming_sched.filters", ())
        words = [name if name in enabled else f"{name} (which enabled_filters lacks)" for name in loaded]
        return f"filters {', '.join(words)}" if words else "no filter ([filter_scheduler] available_filters lacks them)"


def _weighers() -> str:
    loaded = plugins.LOADED.get("kongming_sched.weighers", ())
    return f"weighers {', '.join(loaded)}" if loaded else "no weigher ([filter_scheduler] weight_classes lacks them)"


def _cloud(found: Sequence[ProviderSummary] | Exception) -> str:
    """What there is to schedule on."""
    if isinstance(found, exceptions.PlacementError):
        return "Placement has not answered yet, so that the NUMA nodes are not known."
    if isinstance(found, Exception):
        return f"The NUMA nodes are not known, for reading them ended with {found!r}."
    return _offer(found)


def _offer(summaries: Sequence[ProviderSummary]) -> str:
    """The NUMA nodes of the cloud and their templates."""
    if not summaries:
        return "Placement has no NUMA node for servers of templates: no kongming-agent has registered one yet."
    hosts = len({summary.root_uuid for summary in summaries})
    found = {names.offered_template(trait) for summary in summaries for trait in summary.traits} - {None}
    templates = sorted(map(str, found))
    more = f" and {len(templates) - _SHOWN} more" if len(templates) > _SHOWN else ""
    offer = (
        f"which offer the template{'s' * (len(templates) != 1)} {', '.join(templates[:_SHOWN])}{more}"
        if templates
        else "which offer no template"
    )
    where = f"{len(summaries)} NUMA node{'s' * (len(summaries) != 1)} on {hosts} host{'s' * (hosts != 1)}"
    return f"Placement has {where}, {offer}."

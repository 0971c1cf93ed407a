# SPDX-License-Identifier: Apache-2.0
"""The line in which each worker of nova-scheduler logs which parts of KongMing it has found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.scheduler import plugins
from kongming_sched.texts.counted import count, first

LOG = logging.getLogger(__name__)

_SHOWN = 10
"""How many templates are named; the others are counted."""


class Announcement:
    """Logs after the first request to Placement; if that failed, once more after the first that succeeds.

    :param enabled_filters: gives the names of the filters that nova.conf enables
    """

    def __init__(self, enabled_filters: Callable[[], Iterable[str]]) -> None:
        self._enabled_filters = enabled_filters
        self._has_logged_nodes = False
        self._has_logged = False

    def __call__(self, found: Sequence[ProviderSummary] | Exception) -> None:
        """Log what was found, unless that was done before.

        :param found: all node providers, or the error that kept them from being read
        """
        has_failed = isinstance(found, Exception)
        if self._has_logged_nodes or (self._has_logged and has_failed):
            return
        self._has_logged, self._has_logged_nodes = True, not has_failed
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
    """The NUMA nodes of the cloud, or why they are not known."""
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
    noun = "template" if len(templates) == 1 else "templates"
    offer = f"which offer the {noun} {first(templates, _SHOWN)}" if templates else "which offer no template"
    return f"Placement has {count(len(summaries), 'NUMA node')} on {count(hosts, 'host')}, {offer}."

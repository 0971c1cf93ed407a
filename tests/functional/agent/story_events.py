# SPDX-License-Identifier: Apache-2.0
"""What may happen to a host between two passes of its agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.functional.agent.story_host import StoryHost
from tests.functional.agent.story_templates import DEDICATED, VERSIONS

NAMES, NODES, PICKS = st.sampled_from(sorted(VERSIONS)), st.integers(0, 1), st.integers(0, 19)
"""Of templates, of nodes, and which of the servers."""


@dataclass(frozen=True)
class Event:
    """Something that happens to a host.

    :ivar what: a method of Story
    """

    what: str
    arguments: Mapping[str, object]

    def happen(self, host: StoryHost) -> None:
        """Let it happen."""
        getattr(host, self.what)(**self.arguments)


def _event(what: str, **arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Event]:
    return st.builds(Event, st.just(what), st.fixed_dictionaries(arguments))


def events() -> st.SearchStrategy[list[Event]]:
    """What happens on a day: mostly servers are turned over, and often a template changes at the same time."""
    edited, low = st.sampled_from(["gold", "silver", "single"]), st.booleans()
    whole = st.sampled_from(["gold", "silver", "gold", "silver", "single", "twin"])
    turn_over = _event("turn_over", node=NODES, count=st.integers(2, 5), by_last=low, name=whole, is_low=low)
    edit = _event("edit", name=edited, version=st.integers(0, 2))
    cpus = st.sampled_from(["0", "5,15", "0-19", "1", "7", "19"])
    other = st.one_of(
        _event("migrate", pick=PICKS, name=edited),
        _event("edit", name=NAMES, version=st.sampled_from([0, 1, 2, 3])),
        _event("boot", name=NAMES, node=NODES, iothreads=st.integers(0, 1), is_low=low),
        _event("delete", pick=PICKS, claim_first=low),
        _event("resize", pick=PICKS, name=NAMES, node=NODES),
        _event("come_to_rest"),
        _event("reboot", pick=PICKS),
        _event("move", pick=PICKS, node=NODES),
        _event("meddle_with_pins", pick=PICKS, vcpu=st.integers(0, 1), cpus=cpus),
        _event("unplug", cpus=st.frozensets(st.sampled_from(list(DEDICATED)), max_size=2)),
    )
    parts = st.tuples(st.none() | other, st.none() | edit, st.none() | turn_over | turn_over)
    return parts.map(lambda found: [event for event in found if event])

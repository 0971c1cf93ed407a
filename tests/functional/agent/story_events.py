# SPDX-License-Identifier: Apache-2.0
"""What may happen to a host between two passes of its agent, and on a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.functional.agent.story_faults import NOTHING, Fault, faults, mean_faults
from tests.functional.agent.story_host import StoryHost
from tests.functional.agent.story_templates import DEDICATED, VERSIONS
from tests.functional.agent.story_weights import weighted

NAMES, NODES, PICKS = st.sampled_from(sorted(VERSIONS)), st.integers(0, 1), st.integers(0, 19)
"""Of templates, of nodes, and which of the servers."""

_WHOLE = st.sampled_from(["gold", "silver"])
"""Templates of whole cores."""


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


@dataclass(frozen=True)
class Day:
    """What happens to a host, and the pass after it.

    :ivar fault: what goes wrong in the passes of this day
    :ivar seconds: since the last pass
    """

    happening: Sequence[Event]
    fault: Fault
    seconds: float


def days() -> st.SearchStrategy[Day]:
    """Any day, or one on which guests have to make room for others, and one of them fails at that or cannot move."""
    seconds = st.sampled_from([15, 15, 0, 1000])
    return weighted(
        (5, st.builds(Day, _events(), faults(), seconds)),
        (2, st.builds(Day, _crowding(), mean_faults(), st.just(1000))),
        (1, st.builds(Day, _beside_busy_guests(), weighted((2, st.just(NOTHING)), (1, mean_faults())), st.just(1000))),
    )


def _events() -> st.SearchStrategy[list[Event]]:
    """What happens on a day: mostly servers are turned over, and often a template changes at the same time."""
    edited, low = st.sampled_from(["gold", "silver", "single"]), st.booleans()
    whole = st.sampled_from(["gold", "silver", "gold", "silver", "single", "twin", "loud", "quiet"])
    turn_over = _event("turn_over", node=NODES, count=st.integers(2, 5), by_last=low, name=whole, is_low=low)
    edit = _event("retune", name=edited)
    cpus = st.sampled_from(["0", "5,15", "0-19", "1", "7", "19"])
    other = st.one_of(
        _event("migrate", pick=PICKS, name=edited),
        _event("edit", name=NAMES, version=st.sampled_from([0, 1, 2, 3])),
        _event("boot", name=NAMES, node=NODES, iothreads=st.integers(0, 1), is_low=low),
        _event("delete", pick=PICKS, claim_first=low),
        _event("resize", pick=PICKS, name=NAMES, node=NODES),
        _event("exchange", pick=PICKS, name=_WHOLE),
        _event("come_to_rest"),
        _event("reboot", pick=PICKS),
        _event("move", pick=PICKS, node=NODES),
        _event("meddle_with_pins", pick=PICKS, vcpu=st.integers(0, 1), cpus=cpus),
        _event("unplug", cpus=st.frozensets(st.sampled_from(list(DEDICATED)), max_size=2)),
    )
    nothing: st.SearchStrategy[Event | None] = st.none()
    parts = st.tuples(nothing | other, nothing | edit, weighted((1, nothing), (2, turn_over)))
    return parts.map(lambda found: [event for event in found if event])


def _crowding() -> st.SearchStrategy[list[Event]]:
    """All CPUs are online, and whole cores are wanted of a node on which each has guests that change otherwise, too."""
    low = st.booleans()
    return st.tuples(
        _event("unplug", cpus=st.just(frozenset[int]())),
        _event("retune", name=st.just("single")),
        _event(
            "turn_over",
            node=NODES,
            count=st.integers(2, 4),
            by_last=st.sampled_from([True, True, False]),
            name=_WHOLE,
            is_low=low,
        ),
    ).map(list)


def _beside_busy_guests() -> st.SearchStrategy[list[Event]]:
    """Servers come to nodes on which guests of whole cores cannot be changed now, although their template has."""
    return st.tuples(
        _event("unplug", cpus=st.just(frozenset[int]())),
        _event("migrate", pick=PICKS, name=st.just("gold")),
        _event("retune", name=st.just("gold")),
        _event(
            "turn_over",
            node=NODES,
            count=st.integers(2, 4),
            by_last=st.booleans(),
            name=st.sampled_from(["single", "gold"]),
            is_low=st.booleans(),
        ),
    ).map(list)

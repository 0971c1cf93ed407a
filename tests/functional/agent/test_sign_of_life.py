# SPDX-License-Identifier: Apache-2.0
"""Signs of life of agents, in the real Placement."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched import exceptions
from kongming_sched.agent.loop.sign_of_life import SignOfLife
from kongming_sched.cloud.signs import Sign, read_signs
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from tests.functional.conftest import PlacementService

START = 30_000_000
"""Minutes since 1970."""


class Clock:
    """A clock that is set.

    :ivar minute: since 1970
    """

    def __init__(self) -> None:
        self.minute = START

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.minute * 60.0 + 30


class Counted:
    """Hands requests on, as many as are allowed.

    :ivar sent: how many
    """

    def __init__(self, adapter: Any, allowed: int = 1000) -> None:
        self._adapter = adapter
        self._allowed = allowed
        self.sent = 0

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        """Hand one on."""
        if self.sent >= self._allowed:
            raise ksa_exceptions.ConnectFailure("gone")
        self.sent += 1
        return self._adapter.request(url, method, **kwargs)


def minutes_of_signs(sign: SignOfLife, clock: Clock, minutes: int) -> list[int]:
    """When an agent that makes a pass each minute gives signs, in minutes from now."""
    given = []
    for minute in range(minutes):
        if sign.renew():
            given.append(minute)
        clock.minute += 1
    return given


def test_once_an_hour(placement: PlacementService) -> None:
    """The first pass gives a sign, and then each hour one at the host's own minute; other passes ask nothing."""
    clock, adapter = Clock(), Counted(placement.adapter)

    given = minutes_of_signs(
        SignOfLife(PlacementClient(adapter), "c1", clock), clock, 4 * names.AGENT_SEEN_EVERY_MINUTES
    )

    assert 0 == given[0]
    assert {names.AGENT_SEEN_EVERY_MINUTES} == {later - before for before, later in itertools.pairwise(given[1:])}
    last = {"c1": Sign(names.agent_uuid("c1"), START + given[-1])}
    assert last == read_signs(placement.client)
    assert adapter.sent <= 4 + 3 * (len(given) - 1)


def test_a_restart_gives_no_sign_of_its_own(placement: PlacementService) -> None:
    """An agent that is started again finds that it has given one in this hour."""
    clock = Clock()
    SignOfLife(placement.client, "c1", clock).renew()
    generation = placement.client.providers(name="kongming_agent_c1")[0].generation

    given = SignOfLife(placement.client, "c1", clock).renew()

    assert (False, generation) == (given, placement.client.providers(name="kongming_agent_c1")[0].generation)


def test_agents_that_start_together_do_not_write_together(placement: PlacementService) -> None:
    """Ten hosts have more than five minutes of the hour among them."""
    minutes = set()
    for number in range(10):
        clock = Clock()
        sign = SignOfLife(placement.client, f"host{number}", clock)
        minutes.add(minutes_of_signs(sign, clock, names.AGENT_SEEN_EVERY_MINUTES + 1)[1])

    assert len(minutes) > 5


@pytest.mark.parametrize("allowed", range(5))
def test_any_request_may_be_the_last(placement: PlacementService, allowed: int) -> None:
    """Whatever an agent that was killed has left, the next one gives its sign."""
    clock = Clock()
    with_limit = PlacementClient(Counted(placement.adapter, allowed))
    try:
        SignOfLife(with_limit, "c1", clock).renew()
    except exceptions.PlacementError:
        assert {} == read_signs(placement.client)

    SignOfLife(placement.client, "c1", clock).renew()

    assert START == read_signs(placement.client)["c1"].minute


def test_a_placement_that_takes_none(placement: PlacementService) -> None:
    """It is asked again after five minutes, and not in each pass."""
    clock, adapter = Clock(), Counted(placement.adapter, 0)
    sign = SignOfLife(PlacementClient(adapter), "c1", clock)
    failures = []
    for minute in range(11):
        try:
            sign.renew()
        except exceptions.PlacementError:
            failures.append(minute)
        clock.minute += 1

    assert [0, 5, 10] == failures


def test_a_clock_that_is_set_back(placement: PlacementService) -> None:
    """The sign is given again, by the clock as it is now."""
    clock = Clock()
    sign = SignOfLife(placement.client, "c1", clock)
    sign.renew()
    clock.minute -= 2 * names.AGENT_SEEN_EVERY_MINUTES

    assert sign.renew()
    assert START - 2 * names.AGENT_SEEN_EVERY_MINUTES == read_signs(placement.client)["c1"].minute


def test_no_signs(placement: PlacementService) -> None:
    """A Placement that has never seen an agent has none."""
    assert {} == read_signs(placement.client)


def test_the_scheduler_sees_nothing_of_it(placement: PlacementService) -> None:
    """The provider stands apart from the host's tree."""
    root = names.agent_uuid("any")
    placement.add_host("c1", root)
    SignOfLife(placement.client, "c1", Clock()).renew()

    assert ["c1"] == [provider.name for provider in placement.client.providers(in_tree=root)]
    assert [] == placement.client.host_summaries()

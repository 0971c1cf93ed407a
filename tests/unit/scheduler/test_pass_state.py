# SPDX-License-Identifier: Apache-2.0
"""A HostState for each pass of the scheduler."""

from __future__ import annotations

from kongming_sched.scheduler.pass_state import own_states
from testbed.nova_objects import make_host_state


def test_limits_of_one_pass_are_not_those_of_another() -> None:
    """Neither those that were there before the pass nor those of the next one change."""
    given = make_host_state("c1", "5a1e0000-0000-4000-8000-000000000001")
    given.limits = {"disk_gb": 1}
    (first,) = own_states([given])
    first.limits["numa_topology"] = "first"
    (second,) = own_states([first])
    second.limits["numa_topology"] = "second"
    assert [{"disk_gb": 1}, "first", "second"] == [
        given.limits,
        first.limits["numa_topology"],
        second.limits["numa_topology"],
    ]


def test_a_host_is_the_same_in_every_pass() -> None:
    """Nova leaves hosts out of the alternates that it has selected before, by ==."""
    given, other = (make_host_state(name, "5a1e0000-0000-4000-8000-000000000001") for name in ("c1", "c2"))
    (first,) = own_states([given])
    (second,) = own_states([first])
    assert second in [first]
    assert given == first
    assert {first: 1} == {second: 1}
    assert other != second
    assert type(first) is type(second)
    assert isinstance(second, type(given))


def test_what_a_pass_has_taken_is_taken_in_the_next() -> None:
    """Nova hands the objects of one pass to the next one, after it has taken from them what the server takes."""
    given = make_host_state("c1", "5a1e0000-0000-4000-8000-000000000001")
    (first,) = own_states([given])
    first.num_instances += 1
    (second,) = own_states([first])
    assert (0, 1) == (given.num_instances, second.num_instances)

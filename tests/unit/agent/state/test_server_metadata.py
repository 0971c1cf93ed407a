# SPDX-License-Identifier: Apache-2.0
"""What the agent remembers of servers' metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from kongming_sched.agent.model.view import OverrideRequest
from kongming_sched.agent.state.server_metadata import MAX_SERVERS, Metadata

CPUS = {"kongming:cpus": "5"}
MORE = {"kongming:cpus": "6"}


def test_keeps_what_means_something_here() -> None:
    """A server that says nothing asks for nothing."""
    metadata = Metadata()
    news = [
        metadata.learn("a", {**CPUS, "owner": "me"}),
        metadata.learn("a", CPUS),
        metadata.learn("b", {"owner": "me"}),
    ]
    assert [True, False, False] == news
    assert {"a": OverrideRequest(CPUS)} == metadata.requests()
    assert metadata.learn("a", {})
    assert {} == metadata.requests()


def test_older_words_do_not_count() -> None:
    """Notifications may overtake each other; what was read just now counts always, whatever the clocks say."""
    metadata = Metadata()
    news = [metadata.learn("a", MORE, 20.0), metadata.learn("a", CPUS, 10.0), metadata.learn("a", {}, 30.0)]
    assert [True, False, True] == news
    assert metadata.learn("a", CPUS)
    assert {"a": OverrideRequest(CPUS)} == metadata.requests()


def test_words_from_before_the_clock_was_set_back() -> None:
    """They are of later than now, and then what comes is newer than they are."""
    now = [5000.0]
    metadata = Metadata(clock=lambda: now[0])
    metadata.learn("a", CPUS, 4990.0)

    now[0] -= 3600
    news = [metadata.learn("a", MORE, 1400.0), metadata.learn("a", CPUS, 1390.0)]

    assert [True, False] == news
    assert {"a": OverrideRequest(MORE)} == metadata.requests()


def test_outlives_the_agent(tmp_path: Path) -> None:
    """The next one knows what servers ask for and what they were given."""
    path = tmp_path / "run" / "metadata.json"
    first = Metadata(path)
    first.learn("a", CPUS, 10.0)
    first.grant(["a"], {"a": CPUS})
    first.learn("a", MORE, 20.0)
    first.grant(["a"], {})
    second = Metadata(path)
    assert {"a": OverrideRequest(MORE, CPUS)} == second.requests()
    assert not second.learn("a", CPUS, 15.0)


def test_what_is_unset_is_forgotten(tmp_path: Path) -> None:
    """Also what it was given; a server that is deleted leaves nothing."""
    path = tmp_path / "metadata.json"
    metadata = Metadata(path)
    for server in ("a", "b"):
        metadata.learn(server, CPUS)
    metadata.grant(["a", "b"], {"a": CPUS, "b": CPUS})
    metadata.learn("a", {})
    metadata.forget("b")
    metadata.grant(["a"], {})
    assert "{}" == path.read_text()
    metadata.learn("a", MORE)
    assert {"a": OverrideRequest(MORE)} == metadata.requests()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"metadata": 1, "granted": {}, "at": 0}}'])
def test_a_broken_file_holds_nothing(tmp_path: Path, content: str) -> None:
    """As one that was cut off; Nova is asked again."""
    path = tmp_path / "metadata.json"
    path.write_text(content)
    metadata = Metadata(path)
    assert {} == metadata.requests()
    assert metadata.learn("a", CPUS)


def test_a_disk_that_is_full_stops_nothing(tmp_path: Path) -> None:
    """What cannot be written is known until the agent ends."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    metadata = Metadata(in_the_way / "metadata.json")
    metadata.learn("a", CPUS)
    metadata.grant(["a"], {"a": CPUS})
    assert {"a": OverrideRequest(CPUS, CPUS)} == metadata.requests()


def test_remembers_so_many_and_no_more() -> None:
    """All hosts hear of all servers of the cloud."""
    metadata = Metadata()
    metadata.grant(["0"], {})
    for number in range(MAX_SERVERS + 1):
        metadata.learn(str(number), CPUS)
    requests = metadata.requests()
    assert MAX_SERVERS == len(requests)
    assert (True, False) == ("0" in requests, "1" in requests)


def test_servers_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """Those that neither run nor claim here, by two calls in a row: also in the file, so that it does not grow."""
    metadata = Metadata(tmp_path / "metadata.json")
    for server in ("here", "gone", "late"):
        metadata.learn(server, CPUS)

    metadata.forget_absent(["here", "late"])
    metadata.forget_absent(["here"])
    metadata.grant(["here"], {})

    assert ["here", "late"] == sorted(metadata.requests())
    assert ["here", "late"] == sorted(Metadata(tmp_path / "metadata.json").requests())


def test_absence_counts_in_a_row() -> None:
    """A server that was found in between is not forgotten by the next absence, nor one that has just been learned."""
    metadata = Metadata()
    metadata.learn("a", CPUS)
    for present in ([], ["a"], []):
        metadata.forget_absent(present)
    metadata.learn("b", CPUS)

    assert ["a", "b"] == sorted(metadata.requests())

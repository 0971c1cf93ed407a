# SPDX-License-Identifier: Apache-2.0
"""What is answered by memory is what the application would have answered, and it has got all of it when it is asked."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import recalled_placement
from testbed.recalled_placement import Memory, Recalled

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Notes:
    """An application that keeps what is put there, by path.

    :ivar breaks: whether it breaks off once it has kept something
    """

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.database.execute("CREATE TABLE notes (number INTEGER PRIMARY KEY, path TEXT, body TEXT)")
        self.breaks = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, version = environ["PATH_INFO"], environ.get("HTTP_VERSION_WANTED", "")
        with self.database:
            if environ["REQUEST_METHOD"] != "GET":
                body = environ["wsgi.input"].read().decode()
                self.database.execute("INSERT INTO notes (path, body) VALUES (?, ?)", (path, body))
                if self.breaks:
                    raise RuntimeError("cut off")
        found = self.database.execute("SELECT number, body FROM notes WHERE path = ?", (path,)).fetchall()
        start_response("200 OK", [("Location", f"http://{environ['HTTP_HOST']}{path}")])
        return [f"{version}{found}".encode()]


def start(notes: Notes) -> Callable[[], tuple[WSGIApplication, sqlite3.Connection]]:
    """How an application is started."""
    return lambda: (notes, notes.database)


def ask(
    application: WSGIApplication, method: str, path: str, body: str = "", host: str = "one", version: str = ""
) -> tuple[str, str]:
    """Send a request; gives the header and the body of the answer."""
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "HTTP_HOST": host,
        "HTTP_VERSION_WANTED": version,
        "CONTENT_LENGTH": str(len(body.encode())),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    setup_testing_defaults(environ)
    started = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], int]:
        started.append((status, headers))
        return io.BytesIO().write

    answer = b"".join(application(environ, start_response)).decode()
    ((status, [(name, location)]),) = started
    assert ("200 OK", "Location") == (status, name)
    return location, answer


REQUEST = st.tuples(st.sampled_from(["GET", "PUT"]), st.sampled_from("ab"), st.sampled_from("xy"))


@given(st.lists(st.lists(REQUEST, max_size=8), max_size=6))
def test_each_answer_is_the_applications_own(runs: list[list[tuple[str, str, str]]]) -> None:
    """However many have begun as this one did, and wherever they have gone on in another way."""
    memory = Memory()
    for run in runs:
        real, recalled = Notes(), Recalled(start(Notes()), memory)
        for method, path, body in run:
            body = body if method == "PUT" else ""
            assert ask(real, method, path, body) == ask(recalled, method, path, body)


def test_two_at_the_same_time() -> None:
    """One does not see what is written to another."""
    memory = Memory()
    first, second = Recalled(start(Notes()), memory), Recalled(start(Notes()), memory)

    ask(first, "PUT", "a", "x")
    ask(second, "PUT", "a", "y")

    assert ["[(1, 'x')]", "[(1, 'y')]"] == [ask(each, "GET", "a")[1] for each in (first, second)]


def test_what_was_asked_before_is_not_asked_again() -> None:
    """An application is not even started for it; for what is new it gets all that was written."""
    memory, notes = Memory(), Notes()
    first, second = Recalled(start(Notes()), memory), Recalled(start(notes), memory)
    for each in (first, second):
        ask(each, "PUT", "a", "x")
        ask(each, "GET", "a")
    was_made = second.made

    ask(second, "PUT", "a", "y")

    assert (0, 2) == (was_made, second.made)
    assert [("a", "x"), ("a", "y")] == notes.database.execute("SELECT path, body FROM notes").fetchall()


def test_a_database_that_is_kept() -> None:
    """One that goes on where another has caught up gets a copy of its database."""
    memory, made = Memory(), list[int]()
    for body in ("x", "y", "z"):
        each = Recalled(start(Notes()), memory)
        for _ in range(5):
            ask(each, "PUT", "a")
        ask(each, "PUT", "b", body)
        made.append(each.made)

    assert [6, 6, 1] == made


def test_the_oldest_copy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it would be needed all that was written is sent again."""
    monkeypatch.setattr(recalled_placement, "MOST_IMAGES", 1)
    memory, made = Memory(), list[int]()
    for body in ("x", "y", "x", "y", "z"):
        each = Recalled(start(Notes()), memory)
        ask(each, "PUT", "a", body)
        ask(each, "PUT", "a", "z")
        ask(each, "PUT", "b", f"{body} {made}")
        assert f"[(1, '{body}'), (2, 'z')]" == ask(each, "GET", "a")[1]
        made.append(each.made)
    assert [4, 4, 4, 4, 4] == made


def test_long_stories_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond some writes each request is made."""
    monkeypatch.setattr(recalled_placement, "MOST_WRITES", 2)
    memory, made = Memory(), list[int]()
    for _ in range(2):
        each = Recalled(start(Notes()), memory)
        answers = [ask(each, "PUT", "a", str(number))[1] for number in range(4)]
        made.append(each.made)

    assert [4, 4] == made
    assert "[(1, '0'), (2, '1'), (3, '2'), (4, '3')]" == answers[-1]


def test_hosts_of_several_names() -> None:
    """Each gets its own name back."""
    memory = Memory()
    answers = [ask(Recalled(start(Notes()), memory), "PUT", "/a", host=host)[0] for host in ("one", "two")]

    assert ["http://one/a", "http://two/a"] == answers


def test_headers_are_part_of_the_question() -> None:
    """What is asked for another version is another question."""
    memory = Memory()
    answers = [ask(Recalled(start(Notes()), memory), "GET", "a", version=version)[1] for version in "12"]

    assert ["1[]", "2[]"] == answers


def test_a_write_that_breaks_off() -> None:
    """What comes after it is asked of the application, which may have done part of it."""
    memory, notes = Memory(), Notes()
    application = Recalled(start(notes), memory)
    ask(application, "GET", "a")
    notes.breaks = True
    with pytest.raises(RuntimeError, match="cut off"):
        ask(application, "PUT", "b", "x")
    notes.breaks = False

    ask(application, "PUT", "a", "y")

    assert "[(1, 'y')]" == ask(application, "GET", "a")[1]
    assert "[(1, 'y')]" == ask(Recalled(start(Notes()), memory), "PUT", "a", "y")[1]


def test_who_is_late() -> None:
    """An application whose test has ended is not started any more, for nobody would end it."""
    started = []

    def begin() -> tuple[WSGIApplication, sqlite3.Connection]:
        started.append(Notes())
        return started[0], started[0].database

    application = Recalled(begin, Memory())
    application.close()

    with pytest.raises(RuntimeError, match="has ended"):
        ask(application, "GET", "/a")
    assert [] == started

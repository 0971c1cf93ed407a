# SPDX-License-Identifier: Apache-2.0
"""Reads are remembered, and never longer than until something is written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import jsonschema
import pytest

from testbed.quick_placement import RememberedReads, schemas_checked_once

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Counter:
    """An application that answers how many requests it got.

    :ivar meanwhile: happens while it answers
    """

    def __init__(self) -> None:
        self.count = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.count += 1
        mine = self.count
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        start_response(f"{200 + mine} {environ['REQUEST_METHOD']}", [("Content-Length", str(len(str(mine))))])
        return [str(mine).encode()]


def ask(application: RememberedReads, method: str, path: str = "/", query: str = "", **headers: str) -> tuple[str, str]:
    """Send a request; gives status and body."""
    environ: WSGIEnvironment = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    setup_testing_defaults(environ)
    started = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], int]:
        started.append((status, headers))
        return io.BytesIO().write

    body = b"".join(application(environ, start_response)).decode()
    ((status, given),) = started
    assert [("Content-Length", str(len(body)))] == given
    return status, body


def test_a_read_is_answered_again_by_memory() -> None:
    """Status, headers and body are those of the first time, also after the caller has changed what it got."""
    application = RememberedReads(Counter())
    assert [("201 GET", "1")] * 3 == [ask(application, "GET") for _ in range(3)]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_ends_what_is_remembered(method: str) -> None:
    """Each write reaches the application, and so does the first read after it."""
    application = RememberedReads(Counter())
    asked = [ask(application, each)[1] for each in ("GET", method, method, "GET", "GET")]
    assert ["1", "2", "3", "4", "4"] == asked


def test_another_question_is_another_answer() -> None:
    """Path, query and headers are the question."""
    application = RememberedReads(Counter())
    asked = [
        ask(application, "GET", "/a"),
        ask(application, "GET", "/b"),
        ask(application, "GET", "/a", "in_tree=1"),
        ask(application, "GET", "/a", openstack_api_version="placement 1.36"),
        ask(application, "GET", "/a", openstack_api_version="placement 1.38"),
    ]
    assert ["1", "2", "3", "4", "5"] == [body for _, body in asked]


def test_a_read_during_which_something_is_written_is_not_remembered() -> None:
    """It may have seen what was there before."""
    counter = Counter()
    application = RememberedReads(counter)
    counter.meanwhile = lambda: ask(application, "PUT")
    assert ["1", "3"] == [ask(application, "GET")[1], ask(application, "GET")[1]]


def test_a_read_while_something_is_written_is_not_remembered() -> None:
    """It may have seen what was there before the write was done."""
    counter = Counter()
    application = RememberedReads(counter)
    counter.meanwhile = lambda: ask(application, "GET")
    assert ["1", "3"] == [ask(application, "PUT")[1], ask(application, "GET")[1]]


def test_a_write_that_breaks_ends_what_is_remembered_too() -> None:
    """Part of it may have been done."""
    counter = Counter()
    application = RememberedReads(counter)
    ask(application, "GET")

    def break_off() -> None:
        raise RuntimeError("cut off")

    counter.meanwhile = break_off
    with pytest.raises(RuntimeError, match="cut off"):
        ask(application, "PUT")
    assert "3" == ask(application, "GET")[1]


def test_a_schema_that_was_checked_still_refuses() -> None:
    """What is saved is the check of the schema; what it is for goes on."""
    schema = {"type": "object", "required": ["name"]}
    with schemas_checked_once():
        for _ in range(2):
            jsonschema.validate({"name": "gold"}, schema)
            with pytest.raises(jsonschema.ValidationError, match="'name' is a required property"):
                jsonschema.validate({}, schema)


def test_a_schema_that_is_none_is_refused_each_time() -> None:
    """Only what has passed the check is spared it."""
    schema = {"type": "no type"}
    with schemas_checked_once():
        for _ in range(2):
            with pytest.raises(jsonschema.SchemaError):
                jsonschema.validate({}, schema)

# SPDX-License-Identifier: Apache-2.0
"""What lets a Placement in this process answer the functional tests with a third of the CPU time.

Neither changes an answer: reads are remembered until something is written, and what Placement proves of its own schemas
at each request is proved once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest import mock

import jsonschema

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_Answer: TypeAlias = tuple[str, list[tuple[str, str]], list[bytes]]


class RememberedReads:
    """Answers a GET as the application has answered it since the last request that was none.

    For an application that answers reads by what its own database holds, and whose database is written by requests
    alone, as Placement in the functional tests: it needs some 10 ms of CPU for each, and an agent that is interrupted
    at every possible step reads the same again and again.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._answers: dict[object, _Answer] = {}
        self._version = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer from memory, or have the application answer."""
        if environ["REQUEST_METHOD"] != "GET":
            return self._write(environ, start_response)
        status, headers, body = self._read(environ)
        start_response(status, list(headers))
        return body

    def _write(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self._forget()  # reads that have begun may find what was there before
        try:
            return list(self._application(environ, start_response))
        finally:
            self._forget()  # and those that began meanwhile

    def _forget(self) -> None:
        with self._lock:
            self._version += 1
            self._answers.clear()

    def _read(self, environ: WSGIEnvironment) -> _Answer:
        key = _what_is_asked(environ)
        with self._lock:
            version = self._version
            if key in self._answers:
                return self._answers[key]
        answer = _ask(self._application, environ)
        with self._lock:
            if version == self._version:
                self._answers[key] = answer
        return answer


def _what_is_asked(environ: WSGIEnvironment) -> object:
    """All of a request that the answer may depend on: path, query, and headers."""
    headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    return environ.get("PATH_INFO"), environ.get("QUERY_STRING"), tuple(sorted(headers.items()))


def _ask(application: WSGIApplication, environ: WSGIEnvironment) -> _Answer:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> object:
        started.append((status, headers))
        return None

    body = list(application(environ, start_response))  # type: ignore[arg-type]  # nobody writes by what it gives
    status, headers = started[-1]
    return status, headers, body


@contextlib.contextmanager
def schemas_checked_once() -> Iterator[None]:
    """Let ``jsonschema.validate``, which first checks the schema itself, do that once for each schema."""
    validator = jsonschema.Draft202012Validator  # of schemas that name none, as Placement's
    check = validator.check_schema
    checked: dict[int, Mapping[str, Any]] = {}  # which keeps them, so that no other object gets the same id

    def check_once(schema: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        if id(schema) not in checked:
            check(schema, *args, **kwargs)
            checked[id(schema)] = schema

    with mock.patch.object(validator, "check_schema", check_once):
        yield

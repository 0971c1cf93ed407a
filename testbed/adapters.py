# SPDX-License-Identifier: Apache-2.0
"""Adapters around the real one: they count, cut off or answer in Placement's stead, at the edge and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched.compat import StrEnum
from kongming_sched.placement.transport import Adapter, Response


@dataclass(frozen=True)
class Answer:
    """What another service than Placement answers."""

    status_code: int
    text: str = ""

    def json(self, **kwargs: Any) -> Any:
        """The body, parsed."""
        return json.loads(self.text, **kwargs)


CONFLICT = Answer(409, '{"errors": [{"code": "placement.concurrent_update", "detail": "resource provider changed"}]}')
"""Placement's answer to a write with an old generation."""


@dataclass
class Counting:
    """Passes everything on and keeps a list of what it was.

    :ivar requests: method and URL of each request
    :ivar queries: the query of each request
    """

    adapter: Adapter
    requests: list[tuple[str, str]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Pass a request on."""
        self.requests.append((method, url))
        self.queries.append(kwargs.get("params", {}))
        return self.adapter.request(url, method, **kwargs)


@dataclass
class Meddling:
    """Lets another client do something right before chosen requests.

    :ivar before: is called with method and URL of each request
    """

    adapter: Adapter
    before: Callable[[str, str], None]

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Pass a request on, after the other one."""
        self.before(method, url)
        return self.adapter.request(url, method, **kwargs)


@dataclass
class Canned:
    """No Placement at all: the same answer to everything, or none."""

    answer: Answer | Exception

    def request(self, url: str, method: str, **kwargs: Any) -> Response:  # noqa: ARG002  # the client's own names
        """Answer a request."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Failure(StrEnum):
    """How a single request goes wrong."""

    LOST_REQUEST = "the request never arrives"
    LOST_ANSWER = "it is done and the answer gets lost"
    SERVER_ERROR = "the answer is 500, and nothing was done"
    CONFLICT = "the answer is 409, and nothing was done"


@dataclass
class Failing:
    """Passes everything on but the n-th request, counted from 0.

    :ivar count: how many requests there were
    """

    adapter: Adapter
    failing: int
    failure: Failure
    count: int = 0

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Pass a request on, or fail."""
        mine, self.count = self.count, self.count + 1
        if mine != self.failing:
            return self.adapter.request(url, method, **kwargs)
        match self.failure:
            case Failure.SERVER_ERROR:
                return Answer(500, '{"errors": [{"code": "placement.undefined_code", "detail": "database is away"}]}')
            case Failure.CONFLICT:
                return CONFLICT
            case Failure.LOST_ANSWER:
                self.adapter.request(url, method, **kwargs)
        raise ksa_exceptions.ConnectFailure(f"{method} {url}: connection reset")

# SPDX-License-Identifier: Apache-2.0
"""What sends requests to a service, as far as it is used here, and one that gives up those that take too long."""

from __future__ import annotations

from typing import Any, Protocol

from kongming_sched.api.bound import MARGIN_SECONDS, Bound

REQUEST_ID_HEADER = "X-OpenStack-Request-ID"
"""Carries a global request id, by which OpenStack's services log a request beside their own id of it."""


class Response(Protocol):
    """The part of ``requests.Response`` that is read."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    def json(self, **kwargs: Any) -> Any:
        """The body, parsed by :func:`json.loads` with these arguments."""
        ...


class Adapter(Protocol):
    """A proxy of openstacksdk, or any keystoneauth adapter of the service."""

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Send a request to the service; ``url`` starts at its endpoint."""
        ...


class BoundedAdapter:
    """Sends requests by another adapter, and gives those up whose whole takes too long.

    :param bound: that of earlier calls which were made to reach the service
    """

    def __init__(self, adapter: Adapter, seconds: float, bound: Bound | None = None) -> None:
        self._adapter = adapter
        self._seconds = seconds
        self._bound = bound or Bound()

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Send a request.

        :raises TimeoutError: if it is not over in time
        """
        limited = {"timeout": self._seconds + MARGIN_SECONDS, **kwargs}
        return self._bound.run(lambda: self._adapter.request(url, method, **limited), self._seconds)

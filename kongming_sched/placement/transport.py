# SPDX-License-Identifier: Apache-2.0
"""Requests to Placement over a keystoneauth adapter: the only HTTP of KongMing, and how its failures become errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kongming_sched import exceptions
from kongming_sched.api.adapter import REQUEST_ID_HEADER
from kongming_sched.api.adapter import Adapter as Adapter
from kongming_sched.api.adapter import Response as Response
from kongming_sched.api.faults import NO_ANSWER, UNREADABLE, words
from kongming_sched.placement.quantities import amount
from kongming_sched.placement.summaries import ObjectHook

MICROVERSION = "1.36"
"""Placement's release Train and later. Nova's scheduler asks for its candidates with the same."""

_CONFLICT = "placement.concurrent_update"

_T = TypeVar("_T")


class Transport:
    """Sends requests at one fixed microversion.

    :param request_id: the global request id that they carry; empty for none

    :raises PlacementConflict: from a write whose generation is no longer the provider's
    :raises PlacementUnavailable: from a request that got no answer, a server error, or an answer of something else
    :raises PlacementError: from a request that Placement refused
    """

    def __init__(self, adapter: Adapter, request_id: str = "") -> None:
        self.adapter = adapter
        self._headers = {"Accept": "application/json"} | ({REQUEST_ID_HEADER: request_id} if request_id else {})

    def get(
        self, url: str, action: str, read: Callable[[Any], _T], object_hook: ObjectHook | None = None, **kwargs: Any
    ) -> _T:
        """Send a GET and read the answer, as :meth:`ask`."""
        return self.ask("GET", url, action, read, object_hook, **kwargs)

    def replace(self, url: str, action: str, body: Mapping[str, Any]) -> int:
        """Replace a part of a provider with a PUT and return the provider's new generation."""
        return self.ask("PUT", url, action, lambda answer: amount(answer["resource_provider_generation"]), json=body)

    def ask(
        self,
        method: str,
        url: str,
        action: str,
        read: Callable[[Any], _T],
        object_hook: ObjectHook | None = None,
        **kwargs: Any,
    ) -> _T:
        """Send a request and read the answer.

        :param action: what the request is for, completing "Placement could not ..."
        :param read: makes the result from the parsed body
        :param object_hook: applied to each object of the answer while it is parsed, as in :func:`json.loads`
        :param kwargs: for keystoneauth, as ``params`` and ``json``
        :raises PlacementUnavailable: if the answer has another shape than Placement's, too
        """
        response = self.send(method, url, action, **kwargs)
        try:
            return read(response.json(object_hook=object_hook))
        except UNREADABLE as error:
            raise exceptions.PlacementUnavailable(action, f"the answer is not Placement's: {error!r}") from error

    def send(self, method: str, url: str, action: str, **kwargs: Any) -> Response:
        """Send a request; an answer with a status of 400 or more becomes an error.

        :param action: what the request is for, completing "Placement could not ..."
        :param kwargs: for keystoneauth, as ``params`` and ``json``
        """
        try:
            response = self.adapter.request(
                url,
                method,
                microversion=MICROVERSION,
                raise_exc=False,
                headers=dict(self._headers),
                **kwargs,
            )
        except NO_ANSWER as error:
            raise exceptions.PlacementUnavailable(action, words(error)) from error
        if response.status_code < 400:
            return response
        code, detail = _error(response)
        kind: type[exceptions.PlacementError] = exceptions.PlacementError
        if response.status_code >= 500:
            kind = exceptions.PlacementUnavailable
        elif response.status_code == 404:  # without Placement's error code it is a web server's: no Placement there
            kind = exceptions.ProviderNotFound if code else exceptions.PlacementUnavailable
        elif code == _CONFLICT:
            kind = exceptions.PlacementConflict
        elif response.status_code == 403:
            detail = f"{detail} The user needs the role service or admin"
        raise kind(action, detail, response.status_code, code)


def _error(response: Response) -> tuple[str, str]:
    """Placement's error code and the last line of its detail, which holds the reason."""
    try:
        error = response.json()["errors"][0]
        return error.get("code", ""), error["detail"].strip().splitlines()[-1].strip()
    except UNREADABLE:
        return "", f"HTTP status {response.status_code}"

# SPDX-License-Identifier: Apache-2.0
"""Clients of Placement and Nova over a connection of openstacksdk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions

from kongming_sched import exceptions
from kongming_sched.api.adapter import BoundedAdapter
from kongming_sched.api.bound import DEFAULT_SECONDS, Bound
from kongming_sched.api.faults import NO_ANSWER, words
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.placement.client import PlacementClient


def placement_client(connect: Callable[[], Any]) -> PlacementClient:
    """A client of Placement.

    :param connect: gives the connection; its placement proxy sends the requests
    :raises PlacementUnavailable: if Placement is not in the catalogue or does not answer
    """
    try:
        return PlacementClient(_bounded(connect(), "placement", Bound()))
    except sdk_exceptions.SDKException as error:
        raise exceptions.PlacementUnavailable("be reached", str(error)) from error
    except NO_ANSWER as error:
        raise exceptions.PlacementUnavailable("be reached", words(error)) from error


def compute_client(connect: Callable[[], Any], request_id: str = "") -> ComputeClient:
    """A client of Nova, which connects with its first request.

    :param connect: gives the connection; its compute proxy sends the requests
    :param request_id: the global request id that they carry; empty for none
    """
    bound = Bound()
    return ComputeClient(lambda: _bounded(connect(), "compute", bound), request_id)


def _bounded(connection: Any, service: str, bound: Bound) -> BoundedAdapter:
    """The connection's proxy of a service. openstacksdk may ask the service for its versions to make it.

    :raises TimeoutError: if that is not over after ``api_timeout`` of clouds.yaml
    """
    seconds = connection.config.config.get("api_timeout") or DEFAULT_SECONDS
    proxy = bound.run(lambda: getattr(connection, service), float(seconds))
    return BoundedAdapter(_Proxy(proxy), float(seconds), bound)


class _Proxy:
    """A proxy of openstacksdk whose own errors are keystoneauth's."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        """Send a request."""
        try:
            return self._proxy.request(url, method, **kwargs)
        except sdk_exceptions.SDKException as error:
            raise ksa_exceptions.ClientException(str(error)) from error

# SPDX-License-Identifier: Apache-2.0
"""Clients of Placement and Nova over a connection of openstacksdk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions

from kongming_sched import exceptions
from kongming_sched.cloud.compute import ComputeClient
from kongming_sched.placement.client import PlacementClient


def placement_client(connect: Callable[[], Any]) -> PlacementClient:
    """A client of Placement.

    :param connect: gives the connection; its placement proxy sends the requests
    :raises PlacementUnavailable: if Placement is not in the catalogue or does not answer
    """
    try:
        return PlacementClient(connect().placement)
    except (ksa_exceptions.ClientException, sdk_exceptions.SDKException) as error:
        raise exceptions.PlacementUnavailable("be reached", str(error)) from error


def compute_client(connect: Callable[[], Any]) -> ComputeClient:
    """A client of Nova, which connects with its first request.

    :param connect: gives the connection; its compute proxy sends the requests
    """
    return ComputeClient(lambda: connect().compute)

# SPDX-License-Identifier: Apache-2.0
"""What OpenStackClient asks of a plug-in: the name of the API, its versions, its client and its options.

Every ``openstack`` command imports this module, so it imports nothing that osc has not imported already.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from osc_lib import utils

if TYPE_CHECKING:
    from kongming_sched.placement.client import PlacementClient

API_NAME = "kongming"
API_VERSION_OPTION = "os_kongming_api_version"
DEFAULT_API_VERSION = "1"
API_VERSIONS = ("1",)


def make_client(instance: Any) -> PlacementClient:
    """The client behind ``client_manager.kongming``: KongMing's service is Placement.

    :param instance: osc's client manager
    :raises PlacementUnavailable: if Placement is not in the catalogue or does not answer
    """
    from kongming_sched.cloud.clients import placement_client  # not above: see the docstring of the module

    return placement_client(lambda: instance.sdk_connection)


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the global option of the API version, as every plug-in has it."""
    parser.add_argument(
        "--os-kongming-api-version",
        metavar="<kongming-api-version>",
        default=utils.env("OS_KONGMING_API_VERSION", default=DEFAULT_API_VERSION),
        help=f"KongMing API version, default={DEFAULT_API_VERSION} (Env: OS_KONGMING_API_VERSION)",
    )
    return parser

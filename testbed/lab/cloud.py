# SPDX-License-Identifier: Apache-2.0
"""The lab's services as a cloud of the ``openstack`` command and of openstacksdk, without Keystone."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from testbed.lab.placement_api import TOKEN

CLOUD = "kongming"


def write_clouds_yaml(path: Path, placement_endpoint: str, compute_endpoint: str | None = None) -> None:
    """Write a clouds.yaml with the cloud ``kongming``.

    A fixed token has no catalogue. The plugin's own endpoint is what osc-placement takes for Placement; openstacksdk
    takes an override per service. Identity has one too because ``openstack flavor create`` wants a client of it, which
    it only uses with ``--project``.
    """
    cloud = {
        "auth_type": "admin_token",
        "auth": {"endpoint": placement_endpoint, "token": TOKEN},
        "placement_endpoint_override": placement_endpoint,
        "identity_endpoint_override": placement_endpoint,
        "identity_api_version": "3",
    }
    if compute_endpoint:
        cloud["compute_endpoint_override"] = compute_endpoint
    path.write_text(yaml.safe_dump({"clouds": {CLOUD: cloud}}))


def environment(clouds_yaml: Path) -> dict[str, str]:
    """The variables with which ``openstack`` uses this cloud and no other that may be configured on the machine."""
    mine = {"OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "OS_CLOUD": CLOUD}
    return {key: value for key, value in os.environ.items() if not key.startswith("OS_")} | mine

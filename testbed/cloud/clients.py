# SPDX-License-Identifier: Apache-2.0
"""How clients find the cloud: clouds.yaml, openrc, and the environment of ``tools/cloud run``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openstack
import yaml

from testbed.cloud.plan import REGION, Plan
from testbed.lab.cloud import CLOUD, environment

PROGRAMS = Path(__file__).resolve().parents[2] / ".venv-cloud/bin"

COMPUTE_VERSION = "2.96"
"""Servers without a network need 2.37 and later, names of hosts for them 2.74."""

VERSIONS = {"OS_COMPUTE_API_VERSION": COMPUTE_VERSION, "OS_PLACEMENT_API_VERSION": "1.39"}
"""What the ``openstack`` command would not ask for by itself."""


def clouds_yaml(plan: Plan) -> Path:
    """The file that names the cloud."""
    return plan.directory / "clouds.yaml"


def openrc(plan: Plan) -> Path:
    """The file that a shell reads."""
    return plan.directory / "openrc"


def write_client_files(plan: Plan) -> None:
    """Write clouds.yaml and openrc, for the user that runs this."""
    auth = _auth(plan)
    cloud = {
        "auth": auth,
        "region_name": REGION,
        "identity_api_version": "3",
        "compute_default_microversion": COMPUTE_VERSION,
    }
    _write(clouds_yaml(plan), yaml.safe_dump({"clouds": {CLOUD: cloud}}))
    variables = {f"OS_{key.upper()}": value for key, value in auth.items()}
    variables |= {"OS_REGION_NAME": REGION, "OS_IDENTITY_API_VERSION": "3"} | VERSIONS
    lines = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
    lines.append(f'export PATH={shlex.quote(str(PROGRAMS))}:"$PATH"')
    _write(openrc(plan), "\n".join(lines) + "\n")


def _auth(plan: Plan) -> dict[str, str]:
    return {
        "auth_url": f"{plan.url('keystone')}/v3",
        "username": "admin",
        "password": plan.passwords["admin"],
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }


def _write(path: Path, text: str) -> None:
    """Write for the user alone, who may have come through sudo."""
    path.touch(mode=0o600)
    path.write_text(text)
    if user := os.environ.get("SUDO_UID"):
        os.chown(path, int(user), int(os.environ["SUDO_GID"]))


def client_environment(plan: Plan, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables with which commands use this cloud and no other."""
    path = {"PATH": f"{PROGRAMS}{os.pathsep}{environ.get('PATH', '')}"}
    return environment(clouds_yaml(plan)) | VERSIONS | path


def connect(plan: Plan) -> Any:
    """The cloud's administrator."""
    return openstack.connect(
        auth=_auth(plan),
        region_name=REGION,
        compute_default_microversion=COMPUTE_VERSION,
        load_envvars=False,
        load_yaml_config=False,
    )

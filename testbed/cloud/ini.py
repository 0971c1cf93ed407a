# SPDX-License-Identifier: Apache-2.0
"""Configuration files of OpenStack's services, and what several of them have in common."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

from testbed.cloud.plan import LOOPBACK, REGION, Plan

Value = str | int | float | bool | Path | list[str]
Sections = Mapping[str, Mapping[str, Value]]


def render(sections: Sections) -> str:
    """The text of a file as oslo.config reads it; a list is an option that is given several times."""
    lines = []
    for name, options in sections.items():
        lines.append(f"[{name}]")
        for key, value in options.items():
            lines += [f"{key} = {item}" for item in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n"


def write(path: Path, sections: Sections) -> None:
    """Write a file that only its owner may read: there are passwords in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(render(sections))


def read(path: Path) -> dict[str, dict[str, str]]:
    """The sections of a file in which no option is given several times."""
    parser = ConfigParser(interpolation=None, default_section="", delimiters=("=",))
    parser.read_string(path.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


def change(path: Path, section: str, options: Mapping[str, Value | None]) -> None:
    """Set options of a file in which none is given several times.

    :param options: by name; None takes one out
    """
    sections: Sections = read(path)
    merged = {**sections.get(section, {}), **options}
    write(path, {**sections, section: {key: value for key, value in merged.items() if value is not None}})


def configuration_folder(plan: Plan, name: str) -> Path:
    """Where a service finds its files."""
    return plan.directory / "etc" / name


def database(plan: Plan, name: str) -> str:
    """The URL of a database."""
    login = f"kongming:{plan.passwords['database']}"
    return f"mysql+pymysql://{login}@{LOOPBACK}:{plan.ports['mariadb']}/{name}?charset=utf8"


def credentials(plan: Plan) -> dict[str, Value]:
    """How a service logs in to Keystone, for keystoneauth."""
    return {
        "auth_type": "password",
        "auth_url": f"{plan.url('keystone')}/v3",
        "username": "service",
        "password": plan.passwords["service"],
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": REGION,
    }


def token_checks(plan: Plan) -> dict[str, Value]:
    """How an API checks the tokens that it is handed."""
    return credentials(plan) | {
        "www_authenticate_uri": f"{plan.url('keystone')}/v3",
        "service_token_roles": "service",
        "service_token_roles_required": True,
    }

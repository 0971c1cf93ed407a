# SPDX-License-Identifier: Apache-2.0
"""Plans for tests."""

from __future__ import annotations

from pathlib import Path

from testbed.cloud.plan import PORTS, Options, Plan


def make_plan(directory: Path = Path("/cloud"), **options: int | bool | str) -> Plan:
    """A plan whose ports count up from 1000 and whose passwords are their names."""
    passwords = {name: name for name in ("admin", "service", "database", "rabbitmq", "numa-host")}
    return Plan(directory, Options(**options), {name: 1000 + i for i, name in enumerate(PORTS)}, passwords, "qemu")  # type: ignore[arg-type]

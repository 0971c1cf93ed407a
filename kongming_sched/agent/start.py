# SPDX-License-Identifier: Apache-2.0
"""The programs of a compute node, as they are installed: they say what to install where the extra ``agent`` is not."""

from __future__ import annotations

import importlib.util
import sys

_EXTRA = ("libvirt", "prometheus_client", "rich")
"""The packages of ``pip install kongming-sched[agent]`` by the names under which they are imported."""


def agent(args: list[str] | None = None) -> int:
    """The program kongming-agent."""
    if not _has_extra("kongming-agent"):
        return 1
    from kongming_sched.agent.commands import agent as command

    return command.main(args)


def host(args: list[str] | None = None) -> int:
    """The program kongming-host."""
    if not _has_extra("kongming-host"):
        return 1
    from kongming_sched.agent.commands import app

    return app.main(args)


def _has_extra(program: str) -> bool:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"{program}: Python does not find {', '.join(missing)}; on compute nodes install the extra too:"
            " pip install 'kongming-sched[agent]'",
            file=sys.stderr,
        )
    return not missing

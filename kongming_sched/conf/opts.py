# SPDX-License-Identifier: Apache-2.0
"""The entry points of oslo-config-generator: the options of each program, for its own sample file."""

from __future__ import annotations

from oslo_config import cfg


def list_scheduler_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """The options of the filters and weighers, which belong into nova-scheduler's nova.conf."""
    from kongming_sched.conf import scheduler

    return scheduler.list_opts()


def list_agent_opts() -> list[tuple[str | cfg.OptGroup, list[cfg.Opt]]]:
    """The options of kongming-agent."""
    from kongming_sched.conf import agent

    return agent.list_opts()

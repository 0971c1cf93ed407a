# SPDX-License-Identifier: Apache-2.0
"""Options of kongming-status, and the options of Nova and Placement that it checks."""

from __future__ import annotations

from oslo_config import cfg

CLI_OPTS = [
    cfg.MultiStrOpt(
        "nova-config-file",
        metavar="PATH",
        help="nova.conf of nova-scheduler or of a compute node (may be given several times; default:"
        " /etc/nova/nova.conf if it is there)",
    ),
    cfg.MultiStrOpt(
        "placement-config-file",
        metavar="PATH",
        help="placement.conf (may be given several times; default: /etc/placement/placement.conf if it is there)",
    ),
    cfg.MultiStrOpt(
        "agent-config-file",
        metavar="PATH",
        help="The agent's configuration file (may be given several times; default: /etc/kongming/kongming-agent.conf if"
        " it is there)",
    ),
    cfg.StrOpt(
        "os-cloud",
        metavar="NAME",
        help="The cloud of clouds.yaml whose Placement and Nova are asked, as an administrator (default: environment"
        " variables, either OS_CLOUD or OS_AUTH_URL and the others)",
    ),
]

DEFAULT_FILES = {
    "nova": "/etc/nova/nova.conf",
    "placement": "/etc/placement/placement.conf",
    "agent": "/etc/kongming/kongming-agent.conf",
}
"""The files that are read if the command line names none."""

FILTER_SCHEDULER_OPTS = [
    cfg.MultiStrOpt("available_filters", help="Nova's option of this name."),
    cfg.ListOpt("enabled_filters", help="Nova's option of this name."),
    cfg.ListOpt("weight_classes", help="Nova's option of this name."),
]
WORKAROUNDS_OPTS = [cfg.BoolOpt("disable_fallback_pcpu_query", default=False, help="Nova's option of this name.")]
SCHEDULER_OPTS = [cfg.IntOpt("max_placement_results", default=1000, help="Nova's option of this name.")]
PLACEMENT_OPTS = [
    cfg.IntOpt("allocation_conflict_retry_count", default=10, help="Placement's option of this name."),
    cfg.StrOpt(
        "allocation_candidates_generation_strategy", default="depth-first", help="Placement's option of this name."
    ),
    cfg.IntOpt("max_allocation_candidates", default=-1, help="Placement's option of this name."),
]
"""With the defaults of Nova 29 to 34 and Placement 11 to 16."""


def register_nova_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of nova.conf that are checked."""
    conf.register_opts(FILTER_SCHEDULER_OPTS, group="filter_scheduler")
    conf.register_opts(SCHEDULER_OPTS, group="scheduler")
    conf.register_opts(WORKAROUNDS_OPTS, group="workarounds")


def register_placement_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options of placement.conf that are checked."""
    conf.register_opts(PLACEMENT_OPTS, group="placement")

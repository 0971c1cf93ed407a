# SPDX-License-Identifier: Apache-2.0
"""Options of tempest.conf."""

from __future__ import annotations

from oslo_config import cfg

SERVICE_AVAILABLE = "service_available"

SERVICE_OPTS = [
    cfg.BoolOpt(
        "kongming",
        default=True,
        help="Whether the cloud has KongMing: its filters in nova-scheduler and kongming-agent on the compute nodes.",
    )
]

GROUP = cfg.OptGroup("kongming", title="KongMing")

OPTS = [
    cfg.StrOpt(
        "explicit_cpus",
        default="",
        help="""
Host CPUs that the template with explicit CPUs names, as in ``7`` or ``6-7``.

They must be in the dedicated pool of the hosts, and no server may have them. While the tests of explicit CPUs run, the
pool is smaller by the cores of these CPUs. Without a value these tests are skipped: no API shows which CPUs hosts have.
""",
    ),
    cfg.IntOpt(
        "settle_seconds",
        default=60,
        min=1,
        help="""
How long hosts may take to offer a template that is new, and Placement to say what Nova says after an action.

Not less than ``interval_seconds`` of the agents.
""",
    ),
]

# SPDX-License-Identifier: Apache-2.0
"""Options of the agent for what it reports: its metrics, and the history of its changes."""

from __future__ import annotations

from oslo_config import cfg

OPTS = [
    cfg.StrOpt(
        "metrics_address",
        default="127.0.0.1",
        help="""
The address at which Prometheus may fetch the agent's metrics.

The metrics contain the names of servers, and every user of this host may read them unless ``metrics_token_file`` is
set. For any address but this host's own, put a proxy with TLS in front.
""",
    ),
    cfg.PortOpt(
        "metrics_port",
        default=19119,
        help="The port of the metrics; 0 disables them.",
    ),
    cfg.StrOpt(
        "metrics_token_file",
        default="",
        help="""
A file with the token that a request for metrics must show, as ``Authorization: Bearer TOKEN``. Prometheus does so with
``credentials_file`` under ``authorization`` of its ``scrape_configs``. Empty for no token.

Only its owner and its group may have access to the file. It is read after each pass of the agent, so that a new token
needs no new start; if it cannot be read the metrics are not served.
""",
    ),
    cfg.StrOpt(
        "history_file",
        default="/var/log/kongming/history.jsonl",
        help="""
The file to which the agent writes each change of a server, one JSON object a line, with the reason for it; empty for no
history. ``kongming-host history`` shows it.

Nothing is written as long as its directory does not exist.
""",
    ),
    cfg.IntOpt(
        "history_max_mb",
        default=10,
        min=1,
        max=1000,
        help="""
Size of ``history_file``, in MiB, at which the next one is begun. Four older ones are kept, ``history_file.1`` being the
newest of them.
""",
    ),
]

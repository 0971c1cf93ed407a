# SPDX-License-Identifier: Apache-2.0
"""The real Placement as a process of its own on loopback, with a SQLite database."""

from __future__ import annotations

import sys
from pathlib import Path

from testbed.lab.process import ChildProcess

TOKEN = "admin"
"""What the lab's services take for an administrator's token."""

_CONFIGURATION = """\
[DEFAULT]
use_stderr = True
[api]
auth_strategy = noauth2
[placement_database]
connection = sqlite:///{directory}/placement.sqlite
sync_on_startup = True
[placement]
allocation_candidates_generation_strategy = breadth-first
allocation_conflict_retry_count = 1
"""


class PlacementApi(ChildProcess):
    """Placement with an empty database in ``directory``.

    :param module: of its WSGI application
    :ivar endpoint: its URL
    """

    endpoint: str

    def __init__(self, directory: Path, module: str = "placement.wsgi.api") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._port_file = directory / "placement.port"
        (directory / "placement.conf").write_text(_CONFIGURATION.format(directory=directory))
        super().__init__(
            "placement-api",
            [sys.executable, "-m", "testbed.lab.wsgi_server", module, self._port_file, "0"],
            directory,
            {"OS_PLACEMENT_CONFIG_DIR": str(directory)},
        )

    def __enter__(self) -> PlacementApi:
        """Start; again at the same port, if it was stopped."""
        self._port_file.unlink(missing_ok=True)
        super().__enter__()
        port = self.wait_for_port(self._port_file)
        self.command[-1] = port
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

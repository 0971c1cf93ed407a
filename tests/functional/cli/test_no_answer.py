# SPDX-License-Identifier: Apache-2.0
"""Commands whose Placement or Nova takes requests and never ends an answer, on real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched.api.bound import DEFAULT_SECONDS
from testbed.lab import cloud
from testbed.no_answer import EndlessServer, Kind, endless_server
from testbed.waiting import PATIENCE_SECONDS
from tests.functional.cli.conftest import NOWHERE, InCloud
from tests.functional.cli.shell import Shell
from tests.functional.conftest import PlacementService

STATUS = [sys.executable, "-c", "import sys; from kongming_sched.status.command import main; sys.exit(main())"]


@pytest.fixture(params=list(Kind))
def server(request: pytest.FixtureRequest) -> Iterator[EndlessServer]:
    """A server that never ends an answer, of each kind."""
    with endless_server(request.param) as server:
        yield server


def impatient(shell: Shell) -> Shell:
    """The same command with ``api_timeout`` of a second in its clouds.yaml."""
    path = Path(shell.environment["OS_CLIENT_CONFIG_FILE"])
    path.write_text(path.read_text().replace("\n    auth:", "\n    api_timeout: 1\n    auth:"))
    assert "api_timeout" in path.read_text()
    return replace(shell)


@pytest.mark.parametrize("line", ["template list", "host list"])
def test_placement_never_ends_its_answer(in_cloud: InCloud, server: EndlessServer, line: str) -> None:
    """One message after the time that is allowed, and 1."""
    began = time.monotonic()
    done = impatient(in_cloud(server.endpoint))(f"kongming {line}")

    assert time.monotonic() - began < DEFAULT_SECONDS
    assert (1, "") == (done.code, done.out)
    assert done.err.startswith("Placement could not ")
    assert 1 == done.err.count("\n")


def test_nova_never_ends_its_answer(in_cloud: InCloud, placement: PlacementService, server: EndlessServer) -> None:
    """One message after the time that is allowed, and 1."""
    began = time.monotonic()
    done = impatient(in_cloud(placement.endpoint, server.endpoint))("kongming flavor show m1")

    assert time.monotonic() - began < DEFAULT_SECONDS
    assert (1, "") == (done.code, done.out)
    assert done.err.startswith("Nova could not list flavors: ")
    assert 1 == done.err.count("\n")


def test_the_upgrade_check_ends(server: EndlessServer, tmp_path: Path) -> None:
    """It reports that Placement does not answer, and makes the checks that need none."""
    path = tmp_path / "clouds.yaml"
    cloud.write_clouds_yaml(path, server.endpoint, NOWHERE)
    shell = impatient(Shell(cloud.environment(path)))

    done = subprocess.run(
        [*STATUS, "upgrade", "check", "--json"],
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )

    assert 2 == done.returncode, done.stderr
    first = json.loads(done.stdout)["checks"][0]
    assert "Placement could not " in first["details"]

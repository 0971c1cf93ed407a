# SPDX-License-Identifier: Apache-2.0
"""What the scenarios share: the cloud, and the table that is printed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenario.cloud import Cloud
from tests.scenario.table import Table

_TABLE = Table()


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The cloud that OS_CLOUD names, without what scenarios may have left on it."""
    if "OS_CLOUD" not in os.environ:
        pytest.skip("OS_CLOUD names no cloud; run this with tools/cloud run")
    cloud = Cloud()
    cloud.delete_all()
    yield cloud
    cloud.delete_all()


@pytest.fixture(scope="session")
def table() -> Table:
    """The table of actions and templates."""
    return _TABLE


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    if _TABLE.cells:
        terminalreporter.section("actions and templates")
        terminalreporter.write_line(_TABLE.text())

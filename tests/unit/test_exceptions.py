# SPDX-License-Identifier: Apache-2.0
"""The words of errors."""

from __future__ import annotations

import pytest

from kongming_sched.exceptions import ComputeError, HypervisorError, KongMingError, PlacementError, PlacementUnavailable

OUTAGE = (
    "Unable to establish connection to http://controller:8778/resource_providers:"
    " HTTPConnectionPool(host='controller', port=8778): Max retries exceeded with url: /resource_providers (Caused by"
    " NewConnectionError('<urllib3.connection.HTTPConnection object at 0x{address:x}>: Failed to establish a new"
    " connection: [Errno 111] Connection refused'))"
)
"""What keystoneauth makes of it with urllib3 1.26."""


@pytest.mark.parametrize("kind", [PlacementUnavailable, ComputeError])
def test_one_outage_has_one_text(kind: type[KongMingError]) -> None:
    """The address of the connection, another one at each attempt, is left out, so that it can be logged once."""
    first, second = (
        kind("list providers", OUTAGE.format(address=address)) for address in (0x7F3A5C0B1D90, 0x7F3A5C0B2A10)
    )
    assert str(first) == str(second)
    assert str(first).endswith(
        "NewConnectionError('HTTPConnection: Failed to establish a new connection: [Errno 111] Connection refused'))"
    )


@pytest.mark.parametrize("kind", [PlacementError, ComputeError, HypervisorError])
def test_a_page_for_an_answer(kind: type[KongMingError]) -> None:
    """Of a proxy's page of HTML instead of an answer the beginning and the end are kept."""
    text = str(kind("list providers", f"<html>{'x' * 20_000}</html>"))

    assert "could not list providers: <html>x" in text
    assert text.endswith("x</html>")
    assert len(text) < 2100

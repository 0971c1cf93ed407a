# SPDX-License-Identifier: Apache-2.0
"""How libvirt's values are read."""

from __future__ import annotations

import pytest

from kongming_sched.agent.host.libvirt_host import _signed


@pytest.mark.parametrize("value", [17_592_186_044_415, 18_446_744_073_709_551, (1 << 64) - 1, -1])
def test_no_quota_has_one_value(value: int) -> None:
    """However libvirt writes that there is no quota, the agent reads -1, which it then need not set again."""
    assert _signed(value) == -1


@pytest.mark.parametrize("value", [100, 50_000, 1_000_000])
def test_other_values_are_kept(value: int) -> None:
    """A real quota, period or share is what it is."""
    assert _signed(value) == value

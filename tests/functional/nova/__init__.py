# SPDX-License-Identifier: Apache-2.0
"""Tests with Nova's own services in one process: API, conductor, scheduler, and compute over a fake libvirt."""

from __future__ import annotations

import testbed.unpatched_nova  # noqa: F401  # before all else of Nova's tests

# SPDX-License-Identifier: Apache-2.0
"""Measurements of the scheduler's side beside Nova's own, each one command: ``python -m benchmarks.NAME``."""

from __future__ import annotations

import testbed.unpatched_nova  # noqa: F401  # before all else of Nova's tests

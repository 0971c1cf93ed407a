# SPDX-License-Identifier: Apache-2.0
"""How Nova's tests are run, and where each run leaves what was seen."""

from __future__ import annotations

from collections.abc import Mapping

RUNS: Mapping[str, Mapping[str, float] | None] = {
    "without": None,
    "defaults": {},
    "weighers": {"template_affinity_weight_multiplier": 5.0, "reserve_weight_multiplier": 5.0},
}
"""Nova alone; with KongMing and all its options at their defaults; with all weighers that servers without a template
could meet. Values are those of group ``kongming_scheduler``."""

OUTCOMES = "outcomes"
"""The file with a line of JSON for each test."""

SCHEDULINGS = "schedulings"
"""The files, one of each process, with a line of JSON for each request to the scheduler."""

CHOICES = "choices"
"""The files, one of each process, with a line of JSON for each server whose hosts were chosen in both ways."""

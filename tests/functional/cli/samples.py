# SPDX-License-Identifier: Apache-2.0
"""Templates and aggregates that the tests of the commands share."""

from __future__ import annotations

from kongming_sched.clauses.clause import clauses_of
from kongming_sched.template import PinningTemplate

AGGREGATE = "a99e0000-0000-4000-8000-000000000001"
OTHER = "a99e0000-0000-4000-8000-000000000002"

GOLD = """\
name: gold
cells:
  - vcpus: "0-1"
    cpus: dedicated
    threads: isolate
qos: {shares: 1024}
"""
SILVER = """\
name: silver
cells:
  - {vcpus: 0-1, cpus: explicit, pins: {0: 1, 1: "9"}, memory: none}
  - {vcpus: 2, cpus: dedicated, node: 1}
emulator: cell
override: allowed
"""
GOLD_FIELDS = {
    "name": "gold",
    "vcpus": 2,
    "cells": [{"vcpus": "0-1", "cpus": "dedicated", "threads": "isolate", "memory": "strict"}],
    "emulator": "shared",
    "qos": {"shares": 1024},
    "override": "denied",
    "guest_numa": "hidden",
    "hours": [],
    "hours_now": None,
    "hours_next": None,
    "aggregates": [],
    "hosts_offering": [],
    "hosts_not_offering": [],
    **{clause.name: None for clause in clauses_of(PinningTemplate) if clause.default is None},
}
"""What show prints of GOLD, which has no clause without a default."""

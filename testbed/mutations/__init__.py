# SPDX-License-Identifier: Apache-2.0
"""What tools/mutate breaks on purpose, one edit at a time, and which tests must notice."""

from __future__ import annotations

from testbed.mutations.agent import AGENT
from testbed.mutations.core import CORE
from testbed.mutations.hook import HOOK
from testbed.mutations.mutation import Mutation
from testbed.mutations.placement import PLACEMENT
from testbed.mutations.scheduler import SCHEDULER

MUTATIONS: tuple[Mutation, ...] = (*CORE, *PLACEMENT, *SCHEDULER, *AGENT, *HOOK)

# SPDX-License-Identifier: Apache-2.0
"""What the agent logs of its passes, each thing once: what it did, what is wrong, and when that is right again."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_log import log

from kongming_sched.agent.model.outcome import Drift, Outcome
from kongming_sched.agent.model.problem import Problem, Subject

LOG = log.getLogger(__name__)


class LogReport:
    """Logs what is new in the outcome of each pass."""

    def __init__(self) -> None:
        self._problems: dict[Subject, Problem] = {}
        self._refusals: frozenset[object] = frozenset()
        self._drift: frozenset[Drift] = frozenset()
        self._released: frozenset[Subject] = frozenset()

    def report(self, outcome: Outcome) -> None:
        """Log a pass."""
        for change in outcome.placement.changes:
            LOG.info("Placement: %s", change)
        for drift in outcome.pinning.drift.found:
            if drift not in self._drift:
                LOG.warning("%s: %s", drift.server, drift)
        self._drift = frozenset(outcome.pinning.drift.found)
        self._report_released(outcome)
        for subject, what in outcome.unmanaged.confined:
            LOG.info("%s has no template: %s", subject, what)
        for subject, action in outcome.pinning.done:
            LOG.info("%s: %s", subject, action)
        for subject, what in outcome.pinning.cleared:
            LOG.info("%s: %s", subject, what)
        for name in outcome.repaired:
            LOG.info("took another host's pins out of the definition of domain %s", name)
        for _, answer in sorted(outcome.answers.items()):
            LOG.info("incoming migration: %s", answer)
        for refusal in outcome.placement.refusals:
            if refusal not in self._refusals:
                LOG.info("template %s is not offered on node %d: %s", refusal.template, refusal.node_id, refusal.reason)
        self._refusals = frozenset(outcome.placement.refusals)
        self.report_problems(outcome.problems)

    def report_problems(self, problems: Iterable[Problem]) -> None:
        """Log which problems are new or have changed, and which are gone."""
        now = {problem.subject: problem for problem in problems}
        for subject, problem in now.items():
            if self._problems.get(subject) != problem:
                LOG.warning("%s", problem)
        for subject in self._problems:
            if subject not in now:
                LOG.info("%s: no problem any more", subject)
        self._problems = now

    def _report_released(self, outcome: Outcome) -> None:
        now = frozenset(outcome.pinning.released)
        for subject in sorted(now - self._released, key=str):
            LOG.info("%s is released: it is left alone until it is adopted or started anew", subject)
        for subject in sorted(self._released - now, key=str):
            LOG.info("%s is not released any more", subject)
        self._released = now

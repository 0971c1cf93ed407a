# SPDX-License-Identifier: Apache-2.0
"""Further rows of the table, for servers of which Nova keeps a layout of its own."""

from __future__ import annotations

from typing import Any

from tests.scenario.actions import ACTIONS, Action, Subject, confirm, resize, revert


def _there_and_back(subject: Subject, there: Any) -> None:
    mine = subject.current_flavor
    for target in (there, mine):
        resize(subject, target)
        confirm(subject)


def _resize_to_another(subject: Subject) -> None:
    _there_and_back(subject, subject.foreign_flavor)


def _resize_to_none(subject: Subject) -> None:
    _there_and_back(subject, subject.plain_flavor)


def _revert_from_another(subject: Subject) -> None:
    resize(subject, subject.foreign_flavor)
    revert(subject)


def _revert_from_none(subject: Subject) -> None:
    resize(subject, subject.plain_flavor)
    revert(subject)


def _restart_compute(subject: Subject) -> None:
    before = subject.guest
    subject.cloud.services.kill(f"{subject.host}-nova-compute")
    subject.cloud.services.restart()
    assert before == subject.guest


FURTHER_ACTIONS = (
    *ACTIONS,
    Action("resize to another and back", _resize_to_another, hosts=2),
    Action("resize to another and revert", _revert_from_another, hosts=2),
    Action("resize to none and back", _resize_to_none, hosts=2),
    Action("resize to none and revert", _revert_from_none, hosts=2),
    Action("nova-compute killed and restarted", _restart_compute, is_local=True),
)

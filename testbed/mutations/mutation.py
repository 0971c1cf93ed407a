# SPDX-License-Identifier: Apache-2.0
"""A single edit that breaks the code on purpose, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STORIES = "tests/functional/agent/test_promises.py::test_what_is_promised_holds"
"""The state machine of a host, which plays the same ten stories each time."""


class StaleMutationError(Exception):
    """An edit does not apply any more, because the code has changed: bring the list up to date."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One edit of one file.

    :ivar name: by which it is chosen and reported
    :ivar file: what is edited, by its path in the checkout
    :ivar old: text that occurs exactly once in the file
    :ivar new: what takes its place
    :ivar breaks: what is wrong then
    :ivar tests: what must notice, as pytest takes it: each of these on its own
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]

    def applied_to(self, text: str) -> str:
        """The text of the file with the edit.

        :raises StaleMutationError: if the old text is not there, or more than once
        """
        if (count := text.count(self.old)) != 1:
            raise StaleMutationError(f"{self.name}: {self.file} has the old text {count} times instead of once")
        return text.replace(self.old, self.new)

    def apply(self, checkout: Path) -> str:
        """Edit a checkout; gives what the file held before.

        :raises StaleMutationError: if the old text is not there, or more than once
        """
        path = checkout / self.file
        before = path.read_text()
        path.write_text(self.applied_to(before))
        return before

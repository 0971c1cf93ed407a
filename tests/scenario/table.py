# SPDX-License-Identifier: Apache-2.0
"""The table of actions and templates, which the run prints at its end."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """What came of each cell.

    :ivar cells: action and template to the words that stand there
    :ivar reasons: why cells were left out, in the order of their numbers
    """

    actions: list[str] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str], str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def note(self, action: str, template: str, words: str) -> None:
        """Fill a cell."""
        if action not in self.actions:
            self.actions.append(action)
        if template not in self.templates:
            self.templates.append(template)
        self.cells[action, template] = words

    def skip(self, action: str, template: str, reason: str) -> None:
        """Leave a cell out, with its reason."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        self.note(action, template, f"- [{self.reasons.index(reason) + 1}]")

    def hold(self, action: str, template: str, seconds: float | None, host: str) -> None:
        """A cell in which everything was as it should be."""
        pinned = "kept" if seconds is None else f"{seconds:.2f} s"
        self.note(action, template, f"ok {pinned}, {host}")

    def text(self) -> str:
        """The table, as text."""
        rows = [["", *self.templates]]
        rows += [[action, *(self.cells.get((action, name), "") for name in self.templates)] for action in self.actions]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append("")
        lines.append(
            "Seconds are from libvirt's event that the guest runs to its last pin; kept: no pin had to be set."
        )
        lines += [f"[{number}] {reason}" for number, reason in enumerate(self.reasons, 1)]
        return "\n".join(lines)

# SPDX-License-Identifier: Apache-2.0
"""Texts of others within our own sentences: some end with a full stop, some do not."""

from __future__ import annotations


def clause(text: str) -> str:
    """A text without the full stop at its end, so that the sentence may go on after it. An ellipsis stays."""
    stripped = text.rstrip()
    return stripped if stripped.endswith("..") else stripped.removesuffix(".").rstrip()


def sentence(text: str) -> str:
    """A text with exactly one mark at its end."""
    stripped = clause(text)
    return stripped if stripped.endswith((".", "!", "?", "…")) else f"{stripped}."

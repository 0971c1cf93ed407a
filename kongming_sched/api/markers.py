# SPDX-License-Identifier: Apache-2.0
"""The end of a list that Nova gives page by page, also where its links never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_PAGES = 10_000
"""Nova gives 1000 items on a page unless its ``[api] max_limit`` says less."""


class Markers:
    """Follows the pages of one list.

    A link is followed by naming the last item of its page, and not by its address, so it cannot lead to another
    server.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def next(self, items: Sequence[Mapping[str, Any]], links: object) -> str:
        """The marker of the page after this one; empty if this is the last.

        :param items: of this page
        :param links: what the answer says of other pages
        :raises ValueError: if the list goes round, or has more pages than any cloud needs
        :raises LookupError: if the items have no id, or a page without items has a link to another one
        """
        if not links:
            return ""
        marker = items[-1]["id"]
        if not isinstance(marker, str) or not marker:
            raise ValueError(f"an id is no text: {type(marker).__name__}")
        if marker in self._seen:
            raise ValueError(f"the list does not end: its link to the next page leads back to {marker}")
        self._seen.add(marker)
        if len(self._seen) >= MOST_PAGES:
            raise ValueError(f"the list does not end: there is another page after {MOST_PAGES}")
        return marker

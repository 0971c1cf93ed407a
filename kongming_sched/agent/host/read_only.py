# SPDX-License-Identifier: Apache-2.0
"""A way to Placement that lets questions through alone."""

from __future__ import annotations

from typing import Any

from kongming_sched import exceptions
from kongming_sched.placement.transport import Adapter, Response


class ReadOnly:
    """Lets nothing but questions through to Placement."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def request(self, url: str, method: str, **kwargs: Any) -> Response:
        """Ask.

        :raises PlacementError: for everything else
        """
        if method != "GET":
            raise exceptions.PlacementError(f"{method} {url}", "this command only reads")
        return self._adapter.request(url, method, **kwargs)

# SPDX-License-Identifier: Apache-2.0
"""Proves that the Placement in memory answers as the real one does."""

from __future__ import annotations

import json
from typing import Any

from keystoneauth1 import adapter, session

from testbed.memory_placement import CONFLICT, ERRORS, MemoryPlacement


class Compared(adapter.Adapter):
    """Sends each request to a real Placement and to one in memory, and compares what they answer.

    :ivar compared: how many requests there were
    """

    def __init__(self, real: adapter.Adapter) -> None:
        super().__init__(session.Session())
        self._real = real
        self._memory = MemoryPlacement()
        self.compared = 0

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        """Give the real one's answer.

        :raises AssertionError: if the other one's means something else
        """
        self.compared += 1
        asked = {**kwargs, "raise_exc": False}
        answer = self._real.request(url, method, **asked)
        other = self._memory.request(url, method, **asked)
        assert _meaning(answer) == _meaning(other), f"{method} {url}"
        if kwargs.get("raise_exc", True) and answer.status_code >= 400:
            raise ERRORS[answer.status_code](answer.text)
        return answer


def _meaning(answer: Any) -> tuple[int, object]:
    """What our client makes of an answer: whether it is good, its code if it is not, and its fields in no order."""
    if answer.status_code >= 400:
        code = answer.json()["errors"][0].get("code")
        return answer.status_code, code if code == CONFLICT else None
    return 200, _plain(json.loads(answer.text)) if answer.text else None


def _plain(value: Any) -> object:
    """Parsed JSON without links, times and types, and with lists in order."""
    if isinstance(value, dict):
        left_out = ("links", "consumer_type", "resource_provider_generation")
        return {key: _plain(item) for key, item in sorted(value.items()) if key not in left_out}
    if isinstance(value, list):
        return sorted((_plain(item) for item in value), key=str)
    return value

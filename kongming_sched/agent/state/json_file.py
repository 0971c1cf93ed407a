# SPDX-License-Identifier: Apache-2.0
"""Small JSON files in the run directory, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kongming_sched.exceptions import KongMingError

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, KongMingError)
"""What comes of a file that cannot be read, or does not hold what was written by this release."""

_State = TypeVar("_State")


def read_state(path: Path) -> Any:
    """What a file holds; None if there is none.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is not JSON
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def load_state(path: Path | None, parse: Callable[[Any], _State], empty: _State) -> _State:
    """What the agent that ran before has written down; ``empty`` if that is nothing, or cannot be read.

    :param path: None if nothing is written down
    :param parse: makes it of what the JSON holds
    """
    try:
        state = None if path is None else read_state(path)
        return empty if state is None else parse(state)
    except UNREADABLE:
        return empty


def write_state(path: Path, state: Any) -> None:
    """Put a file in place of the one before, and make its directory if need be.

    :raises OSError: if it cannot be written
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(state, indent=1))
    draft.replace(path)

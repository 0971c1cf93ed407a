# SPDX-License-Identifier: Apache-2.0
"""Small JSON files in the run directory, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kongming_sched.agent.own_directory import OwnDirectory
from kongming_sched.exceptions import ConfigurationError, KongMingError

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, KongMingError)
"""What comes of a file that cannot be read, or does not hold what was written by this release."""

_State = TypeVar("_State")


def read_state(path: Path) -> Any:
    """What a file holds; None if there is none.

    :raises ConfigurationError: if another user could have written it
    :raises OSError: if it cannot be read
    :raises ValueError: if it is not JSON
    :raises RecursionError: if it is JSON that has no end of brackets
    """
    text = OwnDirectory(path.parent).read(path.name)
    return None if text is None else json.loads(text)


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
    try:
        OwnDirectory(path.parent).replace(path.name, json.dumps(state, indent=1))
    except ConfigurationError as error:
        raise PermissionError(str(error)) from error

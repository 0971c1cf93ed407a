# SPDX-License-Identifier: Apache-2.0
"""Small files in the run directory, each written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_state(path: Path) -> Any:
    """What a file holds; None if there is none.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is not JSON
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def write_state(path: Path, state: Any) -> None:
    """Put a file in place of the one before.

    :raises OSError: if it cannot be written
    """
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(state, indent=1, sort_keys=True))
    draft.replace(path)

# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of templates and of what commands print as JSON.

The number in a schema's name is its version. What is valid by a version stays valid by it: optional clauses may be
added to templates, and fields to what commands print; everything else gets a schema of the next number.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def schema_names() -> list[str]:
    """The schemas that there are, as in ``template-v1``."""
    files = (path.name for path in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))


def load_schema(name: str) -> dict[str, Any]:
    """A schema by its name.

    :raises FileNotFoundError: if there is none
    """
    schema: dict[str, Any] = json.loads((resources.files(__name__) / f"{name}.json").read_text())
    return schema

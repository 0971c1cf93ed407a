# SPDX-License-Identifier: Apache-2.0
"""The published schemas of templates are those that the clauses make.

``KONGMING_RENEW=1 pytest tests/unit/schemas`` writes them anew. Read what has changed before it is committed, for what
is valid by a version stays valid by it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kongming_sched import schemas
from kongming_sched.clauses.clause import Schema
from kongming_sched.schemas.templates import file_schema, printed_schema


@pytest.mark.parametrize(
    ("name", "made"),
    [("template-v1", file_schema()), ("template-printed-v1", printed_schema())],
    ids=["of files", "of what commands print"],
)
def test_a_published_schema_is_made_from_the_clauses(name: str, made: Schema) -> None:
    """Word for word, for programs read the file and not the code."""
    path = Path(schemas.__path__[0]) / f"{name}.json"
    text = json.dumps(made, indent=2) + "\n"
    if "KONGMING_RENEW" in os.environ:
        path.write_text(text)
    assert text == path.read_text(), "renew it with KONGMING_RENEW=1 pytest tests/unit/schemas"

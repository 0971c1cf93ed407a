# SPDX-License-Identifier: Apache-2.0
"""Sphinx directives that make the reference of KongMing from its code, so that nothing is written twice."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from kongming_reference import directives


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    for name, directive in directives.ALL.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

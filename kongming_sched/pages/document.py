# SPDX-License-Identifier: Apache-2.0
"""An HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import sys
from collections.abc import Iterable
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.texts.printable import clean_lines


def document(title: str, style: str, body: Iterable[str], script: str = "") -> str:
    """The whole document.

    Its policy lets no program run but this one, whatever names stand in the body, and lets nothing be loaded.

    :param title: as HTML
    :param style: CSS behind what all pages share
    :param body: lines of HTML
    :param script: JavaScript that runs when all of it is there
    """
    policy = ["default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'", "form-action 'none'"]
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy.append(f"script-src 'sha256-{digest}'")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(policy)}">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            f"<style>\n{asset(__package__, 'base.css')}{style}</style></head>",
            "<body>",
            *body,
            *([f"<script>{script}</script>"] if script else []),
            "</body></html>",
            "",
        ]
    )


def escape(text: str) -> str:
    """A text as HTML, for between tags and for values of attributes: clean, because a page must be of characters."""
    return html.escape(clean_lines(text))


def asset(package: str, name: str) -> str:
    """A file that lies beside the modules of a package."""
    return importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")


def write_page(path: Path, text: str) -> None:
    """Write a page, whole or not at all; a dash stands for standard output.

    :raises ConfigurationError: if that cannot be
    """
    if str(path) == "-":
        sys.stdout.write(text)
        return
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise exceptions.ConfigurationError("--html", f"cannot write {path}: {error.strerror or error}") from error

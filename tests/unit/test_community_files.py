# SPDX-License-Identifier: Apache-2.0
"""The files that a reader of the repository's front page looks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.test_packaging import ROOT

FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
PAGES = sorted(path for path in ROOT.glob("*.md"))
KINDS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}
"""Of fields, by GitHub's syntax for forms."""


def form(path: Path) -> dict[str, Any]:
    """A form as it is read."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.name)
def test_a_form_is_one_by_githubs_syntax(path: Path) -> None:
    """GitHub leaves out a form that is wrong, and says so to nobody who opens an issue."""
    found = form(path)
    assert {"name", "description", "body"} == found.keys()
    fields = found["body"]
    assert [] == [field for field in fields if field["type"] not in KINDS]
    assert all(field["attributes"].get("label") or field["attributes"].get("value") for field in fields)
    asked = [field["id"] for field in fields if field["type"] != "markdown"]
    assert asked == list(dict.fromkeys(asked))


def test_a_bug_is_reported_with_what_contributing_asks_for() -> None:
    """In both places."""
    asked = (ROOT / "CONTRIBUTING.md").read_text().partition("## Report a bug")[2].partition("\n## ")[0]
    form_text = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()
    words = {"openstack kongming host show HOST", "kongming-host map", "KongmingTemplateFilter", "Nova", "Placement"}
    assert words == {word for word in words if word in " ".join(asked.split()) and word in " ".join(form_text.split())}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    """Files, and sections of them."""
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text())
    assert [] == [link for link in links if not _is_there(page, link)]


def _is_there(page: Path, link: str) -> bool:
    file, _, section = link.partition("#")
    target = page.parent / file if file else page
    if not section or not target.exists():
        return target.exists()
    titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return section in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}

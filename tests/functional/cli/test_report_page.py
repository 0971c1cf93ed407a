# SPDX-License-Identifier: Apache-2.0
"""The page of a whole cloud, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from kongming_sched.cli.report.page import report_page
from testbed.browser import PROGRAMS, Browser, browser
from tests.functional.agent.test_map_page import CONTRASTS
from tests.unit.cli.report.sample_clusters import NASTY, small_cloud

pytestmark = [
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in PROGRAMS),
        reason="Chromium and its driver (Debian packages chromium and chromium-driver) are not here",
    ),
    pytest.mark.xdist_group("browser"),
]

ENTER = "\ue007"
ALL = ["alpha", "beta", "gamma", "delta"]

SHOWN = """
return [...document.querySelectorAll('#hosts > li')].filter(row => row.offsetParent !== null)
  .map(row => row.querySelector('h3').textContent)
"""
"""The hosts that one sees, from top to bottom."""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The page of a small cloud."""
    path = tmp_path / "cloud.html"
    path.write_text(report_page(small_cloud(), datetime(2026, 11, 21, tzinfo=timezone.utc)), encoding="utf-8")
    return path


@pytest.fixture
def shown(window: Browser, path: Path) -> Browser:
    """A browser that shows it."""
    window.prefer("light")
    window.resize(1280, 900)
    window.open(path)
    return window


def find(shown: Browser, words: str) -> list[str]:
    """Type into the search box, and give the hosts that are left."""
    shown.run("const box = document.getElementById('find'); box.focus(); box.select()")
    shown.press("\ue003", *words)
    return list(shown.run(SHOWN))


def found(shown: Browser) -> str:
    """How many there are, as the page says."""
    return str(shown.run("return document.getElementById('found').textContent"))


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        ("alpha", ["alpha"]),
        ("ALPHA", ["alpha"]),
        ("a", ALL),
        ("silver", ["beta", "delta"]),
        ("cache", ["delta"]),
        ("5e7e0000-0000-4000-8000-000000000003", ["beta"]),
        ("full", ["beta"]),
        ("disabled", ["gamma", "delta"]),
        ("disabled silver", ["delta"]),
        ("gold  web", ["alpha"]),
        ("nowhere", []),
    ],
)
def test_the_search_box(shown: Browser, words: str, hosts: list[str]) -> None:
    """Finds hosts by their name, servers, templates and states; all words must be there."""
    assert hosts == find(shown, words)
    assert f"{len(hosts)} of 4 hosts" == found(shown)


def test_the_search_ends(shown: Browser) -> None:
    """With an empty box all hosts are there again, and Enter loads nothing."""
    find(shown, "alpha")
    shown.press(ENTER)
    hosts = find(shown, "")

    assert (ALL, "4 hosts") == (hosts, found(shown))


def test_servers_that_are_looked_for_show_themselves(shown: Browser) -> None:
    """Where few hosts are left their lists of servers open, and close again."""
    opened = "return [...document.querySelectorAll('#hosts details')].map(list => list.open)"
    find(shown, "web")
    during = shown.run(opened)
    find(shown, "")

    assert [True, False, False] == during
    assert [False, False, False] == shown.run(opened)


def test_what_one_looks_for_is_in_the_address(shown: Browser) -> None:
    """So that a link leads there."""
    find(shown, "silver")
    address = str(shown.run("return location.href"))
    shown.run("location.href = 'about:blank'")
    shown.go(address)

    assert address.endswith("#find=silver")
    assert ["beta", "delta"] == shown.run(SHOWN)


def test_a_template_is_looked_for_with_one_click(shown: Browser) -> None:
    """Its name in the table is a button."""
    shown.run("document.querySelector('[data-find=bronze]').click()")

    assert ["delta"] == shown.run(SHOWN)
    assert "find" == shown.run("return document.activeElement.id")


def test_a_slash_leads_to_the_box(shown: Browser) -> None:
    """As on many pages; it is not written into it."""
    shown.press("/", "b", "e", "t")

    assert ["beta"] == shown.run(SHOWN)


@pytest.mark.parametrize(
    ("order", "hosts"),
    [
        ("name", ALL),
        ("cpus", ["alpha", "gamma", "delta", "beta"]),
        ("full", ["beta", "delta", "gamma", "alpha"]),
        ("memory", ["alpha", "beta", "gamma", "delta"]),
        ("servers", ["alpha", "beta", "delta", "gamma"]),
    ],
)
def test_the_order(shown: Browser, order: str, hosts: list[str]) -> None:
    """Hosts are ordered by what one wants to know of them; equal ones stay by name."""
    choose = "const box = document.getElementById('order'); box.value = arguments[0];"
    shown.run(choose + "box.dispatchEvent(new Event('change'))", order)

    assert hosts == shown.run(SHOWN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(shown: Browser, scheme: str) -> None:
    """Each text has a contrast of at least 4.5 to 1, in both schemes, also in lists that are opened."""
    shown.prefer(scheme)
    shown.run("document.querySelectorAll('details').forEach(list => list.open = true)")

    contrasts = shown.run(CONTRASTS)

    assert len(contrasts) > 60
    assert [] == [text for text in contrasts if text[0] < 4.5]


BARS = """
const canvas = document.createElement('canvas').getContext('2d');
const pixel = color => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data]; };
const luminance = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => v / 255)
  .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
return [...document.querySelectorAll('.hosts .bar')].map(bar => {
  const style = getComputedStyle(bar);
  const used = luminance(pixel(style.getPropertyValue('--kind'))), free = luminance(pixel(style.backgroundColor));
  return (Math.max(used, free) + .05) / (Math.min(used, free) + .05);
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bars_need_no_colour(shown: Browser, scheme: str) -> None:
    """Used and free differ in brightness by 3 to 1 and more, as WCAG asks of graphics."""
    shown.prefer(scheme)
    ratios = shown.run(BARS)

    assert len(ratios) > 10
    assert [] == [ratio for ratio in ratios if ratio < 3]


def test_light_and_dark(shown: Browser, tmp_path: Path) -> None:
    """The page is as the user likes it, and the two are not the same picture."""
    grounds = {}
    for scheme in ("light", "dark"):
        shown.prefer(scheme)
        grounds[scheme] = shown.run("return getComputedStyle(document.body).backgroundColor")
        shown.screenshot(tmp_path / f"{scheme}.png")

    assert {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 20, 27)"} == grounds
    assert (tmp_path / "light.png").read_bytes() != (tmp_path / "dark.png").read_bytes()


def test_nothing_is_loaded_and_no_name_runs(shown: Browser) -> None:
    """No request leaves the page, and the policy of the page stops what a server's user might get into it."""
    asked = "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')"
    shown.run(asked)

    assert [] == [address for address in shown.requests() if not address.endswith("/x")]
    assert "KongMing" == shown.run("return document.title")
    assert NASTY in shown.run("return document.querySelector('#hosts').textContent")


@pytest.mark.parametrize("width", [360, 800, 1280, 2560])
def test_it_fits_every_window(shown: Browser, width: int) -> None:
    """Nothing sticks out to the side, however narrow the window, also with open lists."""
    shown.resize(width, 900)
    shown.run("document.querySelectorAll('details').forEach(list => list.open = true)")

    assert shown.run("return document.documentElement.scrollWidth") <= width


def test_numbers_are_not_cut_off_at_1280_pixels(shown: Browser) -> None:
    """Each line of a node has room for all that it says."""
    lines = "return [...document.querySelectorAll('.nodes p')]"
    cut = f"{lines}.filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.outerHTML)"

    assert [] == shown.run(cut)


def test_what_a_screen_reader_says(shown: Browser) -> None:
    """The box, the order and the hosts have names, and the count is announced when it changes."""
    shown.command("Accessibility.enable")
    tree = shown.command("Accessibility.getFullAXTree")["nodes"]
    found = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}

    assert {("searchbox", "Find"), ("combobox", "order by"), ("heading", "alpha"), ("heading", "node 1")} <= found
    assert {"status", "search", "table"} <= {role for role, _ in found}


def test_all_of_it_is_there_without_a_script(window: Browser, path: Path) -> None:
    """Only a search takes one."""
    window.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        window.open(path)
        text = window.command("Accessibility.getFullAXTree")["nodes"]
    finally:
        window.command("Emulation.setScriptExecutionDisabled", value=False)

    names = {node.get("name", {}).get("value", "") for node in text}
    assert {*ALL, "Templates", "12"} <= names

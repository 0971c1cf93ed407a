# SPDX-License-Identifier: Apache-2.0
"""The page with the map of a host, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from kongming_sched.agent.commands.map_page import page
from testbed.browser import PROGRAMS, Browser, browser
from tests.unit.agent.inspect.host_maps import guest, two_nodes

pytestmark = [
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in PROGRAMS),
        reason="Chromium and its driver (Debian packages chromium and chromium-driver) are not here",
    ),
    pytest.mark.xdist_group("browser"),
]

TAB, DOWN, UP = "\ue004", "\ue015", "\ue013"

CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function pixel(colors) {
  canvas.clearRect(0, 0, 1, 1);
  for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function luminance(rgb) {
  const [r, g, b] = rgb.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}
const found = [];
for (const element of document.body.querySelectorAll('*')) {
  const own = [...element.childNodes].filter(node => node.nodeType === 3 && node.data.trim());
  if (!own.length || element.closest('.hidden')) continue;
  const grounds = [];
  for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
  const ground = luminance(pixel(grounds)), ink = luminance(pixel([...grounds, getComputedStyle(element).color]));
  const ratio = (Math.max(ground, ink) + .05) / (Math.min(ground, ink) + .05);
  found.push([ratio, element.className, own[0].data.trim()]);
}
return found;
"""
"""The contrast of every text with what is behind it, as WCAG counts it."""

OPACITIES = "return [...document.querySelectorAll('.cpu')].map(e => [e.title, getComputedStyle(e).opacity])"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def shown(window: Browser, tmp_path: Path) -> Browser:
    """A browser that shows the map of a host with guests of all kinds, of which two are on one dedicated CPU."""
    path = tmp_path / "map.html"
    strange = guest("<script>document.title='hacked'</script>", "gold", "14")
    path.write_text(
        page(two_nodes(guest("intruder", "gold", "2"), strange), datetime(2026, 11, 21, tzinfo=timezone.utc))
    )
    window.prefer("light")
    window.resize(1440, 900)
    window.open(path)
    return window


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(shown: Browser, scheme: str) -> None:
    """Each text has a contrast of at least 4.5 to 1, in both schemes."""
    shown.prefer(scheme)

    contrasts = shown.run(CONTRASTS)

    assert len(contrasts) > 100
    assert [] == [text for text in contrasts if text[0] < 4.5]


def test_light_and_dark(shown: Browser, tmp_path: Path) -> None:
    """The page is as the user likes it, and the two are not the same picture."""
    grounds = {}
    for scheme in ("light", "dark"):
        shown.prefer(scheme)
        grounds[scheme] = shown.run("return getComputedStyle(document.body).backgroundColor")
        shown.screenshot(tmp_path / f"{scheme}.png")

    assert {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 20, 27)"} == grounds
    assert (tmp_path / "light.png").read_bytes() != (tmp_path / "dark.png").read_bytes()


def test_nothing_else_is_loaded_and_nothing_is_run(shown: Browser) -> None:
    """No request leaves the page, and a server's name is a text and no program."""
    assert [] == shown.requests()
    assert "compute-1.example.org: CPUs and guests" == shown.run("return document.title")
    assert 0 == shown.run("return document.scripts.length")
    assert "<script>document.title='hacked'</script>" in shown.run("return document.body.innerText")


def test_a_guest_is_chosen_with_the_keyboard(shown: Browser) -> None:
    """Tab goes to the list, the arrows go through it, and all CPUs but those of the chosen guest fade."""
    shown.press(TAB, DOWN, DOWN)
    name = shown.run("return document.activeElement.closest('label').querySelector('.called').textContent")
    focused = shown.run("return getComputedStyle(document.activeElement.closest('label')).outlineStyle")
    bright = {title for title, opacity in shown.run(OPACITIES) if opacity == "1"}
    shown.press(UP, UP)
    faded = [title for title, opacity in shown.run(OPACITIES) if opacity != "1"]

    assert ("batch-1", "solid") == (name, focused)
    assert bright == {title for title, _ in shown.run(OPACITIES) if "batch-1 " in title}
    assert bright
    assert [] == faded


def test_what_a_screen_reader_says(shown: Browser) -> None:
    """The accessibility tree has names for nodes, guests and CPUs, and the alarm is one."""
    shown.command("Accessibility.enable")
    tree = shown.command("Accessibility.getFullAXTree")["nodes"]
    found = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}

    assert {("heading", "compute-1.example.org"), ("region", "NUMA node 0"), ("region", "NUMA node 1")} <= found
    assert ("group", "Show the CPUs of a guest") in found
    assert ("radio", "router template exact · 2 vCPUs CPU 13,29") in found
    assert "alert" in {role for role, _ in found}
    assert [] == [name for role, name in found if role == "radio" and not name]


@pytest.mark.parametrize("width", [360, 800, 1440, 2560])
def test_it_fits_every_window(shown: Browser, width: int) -> None:
    """Nothing sticks out to the side, however narrow the window."""
    shown.resize(width, 900)

    assert shown.run("return document.documentElement.scrollWidth") <= width


def test_titles_tell_who_is_there(shown: Browser) -> None:
    """Each CPU has a text with its pool and everybody who may run on it."""
    titles = [title for title, _ in shown.run(OPACITIES)]

    assert 32 == len(titles)
    assert "CPU 13, dedicated: router (vCPU 0), build-agent (vCPU 0-1 and emulator, not pinned)" in titles

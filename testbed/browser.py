# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over ChromeDriver's own HTTP: a page is seen as people see it."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")

_FLAGS = [
    "--headless",
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Browser:
    """One window."""

    def __init__(self, driver: str, session: str) -> None:
        self._session = f"{driver}/session/{session}"

    def open(self, path: Path) -> None:
        """Show a file."""
        self.go(path.absolute().as_uri())

    def go(self, address: str) -> None:
        """Show what is at an address."""
        _ask(f"{self._session}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page, and give what it returns."""
        return _ask(f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page, and give what it hands to its last argument, which is a function."""
        return _ask(f"{self._session}/execute/async", {"script": script, "args": list(arguments)})

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return _ask(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def press(self, *keys: str) -> None:
        """Press keys, one after the other; WebDriver has characters of its own for those that write nothing."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        _ask(f"{self._session}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def prefer(self, scheme: str) -> None:
        """Be a browser whose user likes it light or dark."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int) -> None:
        """Have a window of this size, in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write the page as a picture, or only what the window shows of it."""
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def requests(self) -> list[str]:
        """The addresses of everything that the page has loaded beside itself."""
        found = self.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        return list(found)


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            session = _start_session(driver, profile)
            yield Browser(driver, session)
            _ask(f"{driver}/session/{session}", None, "DELETE")
        finally:
            process.terminate()


def _start_session(driver: str, profile: Path) -> str:
    options = {"args": [*_FLAGS, f"--user-data-dir={profile}"]}
    wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
    for attempt in range(100):
        try:
            return str(_ask(f"{driver}/session", wanted)["sessionId"])
        except urllib.error.HTTPError:
            raise
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.1)  # the driver is not listening yet
    raise AssertionError("unreachable")


def _ask(url: str, body: object, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # our own driver's
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        return json.load(answer)["value"]

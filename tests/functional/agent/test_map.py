# SPDX-License-Identifier: Apache-2.0
"""kongming-host map for people and for programs; libvirt is its built-in test driver."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.functional.agent.test_service import HOST, WORKING, run_map


def on_a_terminal(tmp_path: Path, *words: str, **environment: str) -> str:
    """What a person sees."""
    (tmp_path / "agent.conf").write_text(WORKING)
    master, slave = pty.openpty()
    command = [*HOST, "map", "--config-file", str(tmp_path / "agent.conf"), *words]
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    variables = {**plain, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command, stdout=slave, stderr=subprocess.STDOUT, env=variables) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # how a terminal says that nobody writes to it any more
                break
            seen += chunk
        assert 0 == process.wait(60)
    os.close(master)
    return seen.decode()


def test_colours_are_for_people(tmp_path: Path) -> None:
    """On a terminal the pools have colours and a line says how full they are."""
    seen = on_a_terminal(tmp_path)

    assert "\x1b[1;36mdedicated" in seen
    assert "0 of 2 CPUs in use" in seen
    assert "free" in seen


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        pytest.param((), {"NO_COLOR": "1"}, id="NO_COLOR"),
        pytest.param(("-f", "json"), {}, id="json"),
        pytest.param(("-c", "CPU"), {}, id="chosen columns"),
    ],
)
def test_no_colours_for_others(tmp_path: Path, words: tuple[str, ...], environment: dict[str, str]) -> None:
    """Where colours are not wanted, and for programs, there is plain text also on a terminal."""
    seen = on_a_terminal(tmp_path, *words, **environment)

    assert "\x1b" not in seen
    assert "CPU" in seen


def test_plain_text_in_a_pipe(tmp_path: Path) -> None:
    """The table that it always was."""
    result = run_map(tmp_path, WORKING)

    assert (0, "") == (result.returncode, result.stderr)
    assert "\x1b" not in result.stdout
    assert "| Node | Core | CPU | Pool         | Runs |" in result.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        pytest.param("", "confine_unmanaged is off: servers without a template run on every CPU", id="off"),
        pytest.param("confine_unmanaged = true\n", "confine_unmanaged is on: servers without a template", id="on"),
    ],
)
def test_state_of_confine_unmanaged(tmp_path: Path, option: str, words: str) -> None:
    """It stands below the table for people, coloured or not, and on the page, but not in what programs read."""
    configuration = WORKING.replace("[kongming_agent]\n", f"[kongming_agent]\n{option}")

    plain = run_map(tmp_path, configuration)
    page = run_map(tmp_path, configuration, "--html", "-")
    value = run_map(tmp_path, configuration, "-f", "value")

    assert plain.stdout.splitlines()[-1].startswith(words)
    assert f'<p class="note">{words}' in page.stdout
    assert "confine_unmanaged" not in value.stdout


def test_a_page(tmp_path: Path) -> None:
    """In a file, or on standard output; nothing else is printed."""
    written = run_map(tmp_path, WORKING, "--html", str(tmp_path / "map.html"))
    printed = run_map(tmp_path, WORKING, "--html", "-")

    assert (0, "", "") == (written.returncode, written.stdout, written.stderr)
    assert (tmp_path / "map.html").read_text().startswith("<!DOCTYPE html>")
    assert printed.stdout.startswith("<!DOCTYPE html>")
    assert printed.stdout.endswith("</html>\n")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    """One message with the place and the reason, and exit code 1."""
    result = run_map(tmp_path, WORKING, "--html", str(tmp_path / "nowhere" / "map.html"))

    assert 1 == result.returncode
    assert f"option --html: cannot write {tmp_path}/nowhere/map.html: No such file or directory\n" == result.stderr

# SPDX-License-Identifier: Apache-2.0
"""A template's file: what YAML says, and the line of what is wrong."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from kongming_sched.cli.template.file import MAX_BYTES, STDIN, TemplateFile
from kongming_sched.exceptions import InvalidTemplateFile
from kongming_sched.template import PinningTemplate
from tests.unit.strategies import templates

Write = Callable[[str | bytes], str]

GOLD = """\
# Two vCPUs that share their host CPUs with nobody
name: gold
cells:
  - vcpus: 0-1
    cpus: explicit
    pins:
      0: 5-6
      1: 9-11,^10
qos: {shares: 1024}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: str | bytes) -> str:
        path = tmp_path / "gold.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def test_a_file_holds_a_template(write: Write) -> None:
    """Its fields are the template's own, and CPU sets need no quotes."""
    expected = PinningTemplate.from_mapping(
        {
            "name": "gold",
            "cells": [{"vcpus": "0-1", "cpus": "explicit", "pins": {0: "5-6", 1: "9,11"}}],
            "qos": {"shares": 1024},
        }
    )
    assert expected == TemplateFile(write(GOLD)).template


@given(templates())
def test_every_template_comes_back_from_its_file(template: PinningTemplate) -> None:
    """What is written as YAML is read as the same template."""
    content = yaml.safe_dump(template.to_mapping()).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert template == TemplateFile(STDIN).template


def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interactive session goes on after a template was read from it."""
    stdin = io.TextIOWrapper(io.BytesIO(GOLD.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    TemplateFile(STDIN)
    assert not stdin.closed


def test_an_editor_may_leave_a_byte_order_mark(write: Write) -> None:
    """It is no part of the first key."""
    assert TemplateFile(write(b"\xef\xbb\xbf" + GOLD.encode())).template.name == "gold"


def test_cells_may_be_written_once_and_merged(write: Write) -> None:
    """YAML's anchors and merge keys work."""
    content = "name: a\ncells:\n- &one {vcpus: 0, cpus: dedicated, threads: isolate}\n- {<<: *one, vcpus: 1}\n"
    first, second = TemplateFile(write(content)).template.cells
    assert (str(first.vcpus), str(second.vcpus)) == ("0", "1")
    assert first.threads == second.threads == "isolate"


@pytest.mark.parametrize(
    ("vcpus", "expected"),
    [("0", "0"), ("00", "0"), ("0,1", "0-1"), ("'0'", "0"), ("[0]", None), ("1:30", None), ("0x0", None), ("+0", None)],
)
def test_cpu_sets_are_what_they_look_like(write: Write, vcpus: str, expected: str | None) -> None:
    """YAML 1.1 would read 1:30 as the number 90 and 010 as 8; what is no CPU set is refused."""
    path = write(f"name: a\ncells:\n- vcpus: {vcpus}\n  cpus: dedicated\n")
    try:
        found = str(TemplateFile(path).template.cells[0].vcpus)
    except InvalidTemplateFile:
        found = None
    assert expected == found


def test_a_name_may_be_a_word_that_yaml_takes_for_true(write: Write) -> None:
    """As "on" is in YAML 1.1."""
    assert TemplateFile(write("name: on\ncells: [{vcpus: 0, cpus: dedicated}]")).template.name == "on"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        pytest.param("name: a\n\tcells: []\n", 2, "cannot start any token", id="tab"),
        pytest.param("name: [a\n", 2, "expected ',' or ']'", id="unclosed"),
        pytest.param(GOLD + "---\nname: b\n", 11, "template 'b' at cells: is missing", id="two documents"),
        pytest.param(f"{GOLD}---\n{GOLD}", 12, "template 'gold' is given twice, first in line 2", id="a name twice"),
        pytest.param("name: a\ncells: *gone\n", 2, "undefined alias 'gone'", id="unknown alias"),
        pytest.param("name: a\ncells:\n- cpus: \x07\n", 3, "not allowed (#x0007)", id="control character"),
        pytest.param("name: a\nname: b\n", 2, "key 'name' is given twice, first in line 1", id="key twice"),
        pytest.param(
            GOLD.replace("      1:", "      0:"), 8, "key '0' is given twice, first in line 7", id="pin twice"
        ),
        pytest.param(GOLD.replace("      1:", "      '0':"), 8, "key '0' is given twice", id="pin twice, quoted"),
        pytest.param(
            "name: !!python/name:os.system a\n", 1, "tag:yaml.org,2002:python/name:os.system", id="python tag"
        ),
        pytest.param("name: a\ncells: !!int x\n", 2, "no values of the tag", id="a number that is none"),
        pytest.param("name: a\n? [cells]\n: 1\n", 2, "a key must be a word or a number", id="key is a list"),
        pytest.param("name: a\n<<: 5\n", 2, "expected a mapping", id="merge of a number"),
        pytest.param(b"name: a\n# \xff\n", 2, "is not UTF-8", id="not UTF-8"),
        pytest.param("- name: a\n  cells: 1\n", 2, "must be a list", id="a list"),
        pytest.param("- [{name: a}]\n", 1, "must be a mapping", id="a list in a list"),
        pytest.param("name: a\ncells: &c [*c]\n", 2, "holds itself by an alias", id="a list in itself"),
        pytest.param("name: a\n", 1, "at cells: is missing", id="field missing"),
        pytest.param(GOLD.replace("qos", "quos"), 9, "at quos: unknown key; known are", id="unknown key"),
        pytest.param(GOLD.replace("cpus: explicit", "cpu: explicit"), 5, "cells[0].cpu: unknown key", id="in a cell"),
        pytest.param(GOLD.replace("9-11", "11-9"), 8, "cells[0].pins[1]: '11-9,^10' is not a CPU set", id="CPU set"),
        pytest.param(GOLD.replace("9-11,^10", "10,^10"), 8, "'10,^10' leaves no CPU", id="empty CPU set"),
        pytest.param(GOLD.replace("1024", "1"), 9, "qos.shares: 1 is not a whole number from 2", id="qos"),
        pytest.param(
            "name: a\ncells:\n- {vcpus: 0-1, cpus: shared}\n- vcpus: 2\n  cpus: shared\n- {vcpus: 1, cpus: shared}\n",
            6,
            "cells[2].vcpus: vCPU 1 is in another cell too",
            id="overlapping cells",
        ),
    ],
)
def test_errors_name_the_line(write: Write, content: str | bytes, line: int, reason: str) -> None:
    """Each wrong file has one message, which begins with the file and the line as compilers write them."""
    path = write(content)
    with pytest.raises(InvalidTemplateFile) as caught:
        TemplateFile(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("", "holds no template", id="empty"),
        pytest.param("# nothing yet\n", "holds no template", id="only a comment"),
        pytest.param("a: " + "[" * 5000, "is nested too deeply", id="deep"),
        pytest.param("#" * (MAX_BYTES + 1), f"has more than {MAX_BYTES} bytes", id="large"),
    ],
)
def test_errors_of_the_whole_file_name_no_line(write: Write, content: str, reason: str) -> None:
    """They name the file."""
    path = write(content)
    with pytest.raises(InvalidTemplateFile) as caught:
        TemplateFile(path)
    assert str(caught.value).startswith(f"{path}: {reason}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(InvalidTemplateFile, match=r"gone\.yaml: cannot be read: No such file or directory$"):
        TemplateFile(str(tmp_path / "gone.yaml"))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """And the message says so."""
    with pytest.raises(InvalidTemplateFile, match=r": cannot be read: Is a directory$"):
        TemplateFile(str(tmp_path))


def test_errors_of_standard_input_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As <stdin>."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"name: [")))
    with pytest.raises(InvalidTemplateFile, match=r"^<stdin>:1: not YAML: "):
        TemplateFile(STDIN)


def bomb(key: str, levels: int = 9) -> str:
    """A template in which a value of nine lines unfolds to nine hundred million words."""
    lists = [f"- &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, levels)]
    anchors = "\n  ".join(["- &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]", *lists])
    values = {
        "name": f"name: *l{levels - 1}",
        "qos.shares": f"qos: {{shares: *l{levels - 1}}}",
        "vcpus": f"cells: [{{cpus: dedicated, vcpus: *l{levels - 1}}}]",
        "a merged key": f"cells: [{{<<: *l{levels - 1}}}]",
    }
    return f"x:\n  {anchors}\n{values[key]}\n"


def read_bounded(file: str) -> str:
    """What is wrong with a file, found with little memory."""
    command = [sys.executable, str(Path(__file__).parent / "bounded_reading.py"), file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


@pytest.mark.parametrize("key", ["name", "qos.shares", "vcpus", "a merged key"])
def test_aliases_do_not_unfold_to_gigabytes(write: Write, key: str) -> None:
    """The line, the limit and what to do are named, with little memory and in few words."""
    file = write(bomb(key))
    text = read_bounded(file)
    assert text.startswith(f"{file}:")
    assert "with its aliases it comes to more than 2097152 characters; write out what is meant" in text
    assert len(text) < 1000


def test_a_long_text_by_many_aliases(write: Write) -> None:
    """It counts as often as it stands there."""
    text = read_bounded(write(f"name: gold\ntext: &t {'a' * 500_000}\nqos: [{', '.join(['*t'] * 100_000)}]\n"))
    assert "with its aliases it comes to more than 2097152 characters" in text


def test_a_value_that_holds_itself(write: Write) -> None:
    """It would have no end."""
    assert "holds itself by an alias" in read_bounded(write("name: gold\ncells: &c [*c]\n"))


@pytest.mark.parametrize("field", ["name: {}", "name: gold\nemulator: {}", "name: gold\ncells: {{{}: 1}}"])
def test_long_values_are_not_printed_in_full(write: Write, field: str) -> None:
    """An error shows their start and their end."""
    text = read_bounded(write(field.format("a" * 1_000_000) + "\ncells: [{vcpus: 0, cpus: dedicated}]\n"))
    assert 0 < len(text) < 5000


def test_more_cells_than_any_host_has_nodes(write: Write) -> None:
    """Ten thousand are refused by their number."""
    cells = "\n".join(f"- {{vcpus: {number % 8192}, cpus: dedicated}}" for number in range(10_000))
    text = read_bounded(write(f"name: gold\ncells:\n{cells}\n"))
    assert "has 10000 cells, and a host has no more than 256 NUMA nodes for them" in text


def test_a_large_file_says_its_limit(write: Write) -> None:
    """And what to do."""
    text = read_bounded(write("#" * (MAX_BYTES + 1)))
    assert "has more than 1048576 bytes; write its templates into several files" in text

# SPDX-License-Identifier: Apache-2.0
"""The command line of tools/cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cloud.__main__ import on, parser, read_options, run, status, table
from testbed.cloud.cloud import Row, take_down
from testbed.cloud.plan import Options, save_plan
from testbed.lab.process import LabError
from tests.unit.testbed.cloud.plans import make_plan


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("up", None),
        ("up --libvirt-hosts 1", Options()),
        ("up --hosts 3", Options(fake_hosts=3)),
        ("up --numa-host", Options(numa_host=1)),
        ("up --libvirt-hosts 0 --numa-host 2", Options(libvirt_hosts=0, numa_host=2)),
        ("up --libvirt-hosts 2 --filters none", Options(libvirt_hosts=2, kongming=False)),
    ],
)
def test_options_say_what_shall_be(words: str, options: Options | None) -> None:
    """One host with a hypervisor and KongMing unless options say otherwise; without any the cloud stays as it is."""
    assert options == read_options(parser().parse_args(words.split()))


@pytest.mark.parametrize("words", ["up --libvirt-hosts 0", "up --hosts -1", "up --topology /no/such/file"])
def test_options_that_make_no_cloud_are_refused(words: str) -> None:
    """Before anything is started."""
    with pytest.raises(LabError):
        read_options(parser().parse_args(words.split()))


def test_a_cloud_that_is_not_there_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status says so in the way of service managers."""
    assert (3, "[]\n") == (status(tmp_path, "json"), capsys.readouterr().out)


def test_a_cloud_whose_services_are_gone_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a restart of the machine."""
    save_plan(make_plan(tmp_path))
    code = status(tmp_path, "table")
    assert (3, True) == (code, "mariadb                stopped" in capsys.readouterr().out)


def test_the_table_sums_the_memory_up() -> None:
    """Services that do not run have none."""
    rows = [Row("a", "running", 1, 80, 5, 100), Row("b", "running", 2, None, 5, 20), Row("c", "stopped", *[None] * 4)]
    assert ["all", "120"] == table(rows).splitlines()[-1].split()


def test_no_command_runs_without_a_cloud(tmp_path: Path) -> None:
    """It would use another one, or none."""
    with pytest.raises(LabError, match="there is no cloud"):
        run(tmp_path, ["true"])


def test_taking_down_what_is_not_there_does_no_harm(tmp_path: Path) -> None:
    """Down twice is down."""
    take_down(tmp_path / "nothing", lambda _line: None)
    assert not (tmp_path / "nothing").exists()


def test_the_logs_stay_when_everything_else_goes(tmp_path: Path) -> None:
    """After a broken cloud was taken down its logs still say why it broke."""
    save_plan(make_plan(tmp_path))
    (tmp_path / "log").mkdir()
    take_down(tmp_path, lambda _line: None)
    assert ["log"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("host", "command", "reason"),
    [("fake01", ["ls"], "fake01 is none of compute1"), ("compute1", [], "on wants a command")],
)
def test_a_command_needs_a_host_with_a_libvirtd(tmp_path: Path, host: str, command: list[str], reason: str) -> None:
    """And there must be one; nothing is entered before."""
    save_plan(make_plan(tmp_path))
    with pytest.raises(LabError, match=reason):
        on(tmp_path, host, command)

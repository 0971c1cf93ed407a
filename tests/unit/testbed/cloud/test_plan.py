# SPDX-License-Identifier: Apache-2.0
"""What a cloud shall be."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cloud.plan import Options, check_directory, default_directory, free_ports, load_plan, make_plan, save_plan
from testbed.lab.process import LabError


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    """So that ports and passwords hold for the life of the cloud."""
    plan = make_plan(tmp_path, Options(fake_hosts=3, libvirt_hosts=2, kongming=False), "qemu")
    save_plan(plan)
    assert plan == load_plan(tmp_path)


def test_nobody_else_may_read_the_passwords(tmp_path: Path) -> None:
    """They open a database and a message bus, be it on loopback."""
    save_plan(make_plan(tmp_path, Options(), "qemu"))
    assert 0o600 == (tmp_path / "plan.json").stat().st_mode & 0o777


def test_without_a_file_there_is_no_plan(tmp_path: Path) -> None:
    """That is how a cloud that is down looks."""
    assert load_plan(tmp_path) is None


def test_ports_are_picked_once_each() -> None:
    """No two services share one."""
    names = [f"service{number}" for number in range(50)]
    assert 50 == len(set(free_ports(names).values()))


def test_hosts_have_names_by_their_kind(tmp_path: Path) -> None:
    """Those with guests first, then those that only say so."""
    plan = make_plan(tmp_path, Options(fake_hosts=2, libvirt_hosts=2), "qemu")
    assert ("compute1", "compute2", "fake01", "fake02") == (*plan.libvirt_hosts, *plan.fake_hosts)


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"HOME": "/home/u"}, "/home/u/.local/state/kongming-cloud"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": ""}, "/home/u/.local/state/kongming-cloud"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "/state"}, "/state/kongming-cloud"),
    ],
)
def test_the_cloud_lies_where_state_belongs(environment: dict[str, str], directory: str) -> None:
    """By the XDG base directory specification, in which an empty variable counts as none."""
    assert Path(directory) == default_directory(environment)


def test_a_directory_too_long_for_sockets_is_refused() -> None:
    """Rather than that libvirtd fails in the middle."""
    with pytest.raises(LabError, match="too long a path"):
        check_directory(Path("/") / ("d" * 80))

# SPDX-License-Identifier: Apache-2.0
"""What the comparison of Nova's own tests without and with KongMing finds."""

from __future__ import annotations

from collections import Counter

from testbed.peers.comparison import Seen, differences, has_run

_TEST = "nova/tests/functional/libvirt/test_vgpu.py::VGPUTests::test_create"


def test_a_module_that_cannot_be_imported_has_not_run() -> None:
    """Pytest goes on with the other modules, in all three ways alike."""
    assert has_run("libvirt.test_vgpu", [_TEST])
    assert not has_run("libvirt.test_pci_in_placement", [_TEST])


def test_runs_that_came_to_the_same_are_not_different() -> None:
    """The outcomes, the requests and both choices of each server agree."""
    seen = Seen({_TEST: "passed"}, {_TEST: Counter({"1 servers": 2})}, ({"test": _TEST, "without": [], "with": []},))

    assert [] == list(differences(seen, seen))


def test_each_difference_is_a_line() -> None:
    """An outcome, a request and a choice of hosts that are other ones are each named with the test."""
    one = Seen({_TEST: "passed"}, {_TEST: Counter({"1 servers": 1})})
    other = Seen(
        {_TEST: "failed"},
        {_TEST: Counter({"NoValidHost": 1})},
        ({"test": _TEST, "without": [["one"]], "with": [["two"]]},),
    )

    lines = sorted(differences(one, other))

    assert [
        f"{_TEST}: 0 then 1 times NoValidHost",
        f"{_TEST}: 1 then 0 times 1 servers",
        f"{_TEST}: hosts [['one']] without, and [['two']] with KongMing",
        f"{_TEST}: passed, then failed",
    ] == lines

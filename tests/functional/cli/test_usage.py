# SPDX-License-Identifier: Apache-2.0
"""Commands that are called wrongly."""

from __future__ import annotations

import pytest

from tests.functional.cli.samples import AGGREGATE
from tests.functional.cli.shell import Shell


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("template create", "the following arguments are required: --file"),
        ("template export --format csv", "invalid choice: 'csv'"),
        ("host disable c1 --node one", "argument --node: 'one' is not a whole number from 0 to 255"),
        ("template set", "the following arguments are required: <name>"),
        ("template set gold", "one of the arguments --file --aggregate --no-aggregate is required"),
        ("template set gold --no-aggregate --aggregate " + AGGREGATE, "not allowed with argument"),
        ("template show", "the following arguments are required: <name>"),
        ("template delete", "the following arguments are required: <name>"),
        ("host show", "the following arguments are required: <host>"),
        ("explain", "one of the arguments --flavor --server is required"),
        ("capacity --template gold --flavor f", "not allowed with argument"),
        ("report", "the following arguments are required: --html"),
        ("capacity --host c1 --aggregate rack1", "not allowed with argument"),
        ("capacity --add-host 2=c1", "'2=c1' is not a number from 1 to 10000 and a host, as in 20=like:compute-1"),
        ("capacity --add-host 0=like:c1", "'0=like:c1' is not a number from 1 to 10000"),
        ("flavor set f", "the following arguments are required: --template"),
        ("flavor set f --template gold --threads-per-core 0", "'0' is not a whole number from 1 to 64"),
        ("flavor set f --template gold --threads-per-core \u0663", "is not a whole number from 1 to 64"),
        (f"host enable c1 --node {'9' * 5000}", "is not a whole number from 0 to 255"),
        ("flavor set f --template gold --numa-strategy tight", "invalid choice: 'tight'"),
    ],
)
def test_wrong_usage_ends_with_two(openstack: Shell, line: str, message: str) -> None:
    """And shows the usage."""
    done = openstack("kongming " + line)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: ")
    assert message in done.err

# SPDX-License-Identifier: Apache-2.0
"""Ids of commands, and the numbers that stand for them in Placement."""

from __future__ import annotations

import re

import pytest

from kongming_sched.placement.classes.request_ids import new_request_id, request_mark, request_words


def test_an_id_is_one_of_openstack() -> None:
    """It has the form that oslo.middleware takes, and no two are alike."""
    ids = {new_request_id() for _ in range(100)}
    assert 100 == len(ids)
    form = r"req-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"
    assert all(re.fullmatch(form, found) for found in ids)


def test_its_number_is_an_amount_of_placement() -> None:
    """It lies within 31 bits, and gives the beginning of the id again."""
    for _ in range(100):
        found = new_request_id()
        assert 0 < request_mark(found) < 2**31
        assert found.startswith(request_words(request_mark(found)))


@pytest.mark.parametrize("text", ["", "req-", "req-ffffffff-1", "req-00000000-1", "req-x", "req-123456789a-1"])
def test_what_has_no_number(text: str) -> None:
    """Anything else is 0, which stands for no id."""
    assert (0, "") == (request_mark(text), request_words(0))

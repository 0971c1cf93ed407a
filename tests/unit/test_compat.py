# SPDX-License-Identifier: Apache-2.0
"""What differs between releases behaves alike behind this module."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from kongming_sched import compat


class Policy(compat.StrEnum):
    """Some words."""

    STRICT = "strict"


class Plain:
    """As cliff's FormattableColumn before cliff 4.9."""

    def __init__(self, value: object) -> None:
        self.value = value


def test_a_member_of_an_enumeration_is_its_word() -> None:
    """Alone, in a text, in a formatted width, and looked up by the word."""
    assert ("strict", "strict", "strict  ", Policy.STRICT) == (
        str(Policy.STRICT),
        f"{Policy.STRICT}",
        f"{Policy.STRICT:8}",
        Policy("strict"),
    )
    word: str = "strict"
    assert word == Policy.STRICT


@pytest.mark.parametrize("text", ["2026-11-21T12:00:00Z", "2026-11-21 12:00:00+00:00", "2026-11-21T14:00:00+02:00"])
def test_a_time_may_end_with_a_letter(text: str) -> None:
    """Z means UTC, as Nova writes it."""
    assert datetime(2026, 11, 21, 12, tzinfo=timezone.utc) == compat.parse_time(text)


def test_a_plain_class_takes_a_type_in_brackets() -> None:
    """What derives from it is one of its own."""
    base = compat.subscriptable(Plain)

    class Names(base[list[str]]):  # type: ignore[misc, valid-type]
        """A class as those of the commands' columns."""

    assert isinstance(Names(["a"]), Plain)
    assert ["a"] == Names(["a"]).value


def test_a_generic_class_stays_what_it_is() -> None:
    """Nothing is put before it."""
    assert compat.subscriptable(list) is list


def test_the_adapter_has_the_credentials_of_nova_conf() -> None:
    """Asked for by name from Nova 31 on, and without that before."""

    def of_nova_30(service_type: str, check_service: bool = False) -> object:
        return service_type, check_service

    def of_nova_31(service_type: str, admin: bool, check_service: bool = False) -> object:
        return service_type, admin, check_service

    assert ("placement", False) == compat.admin_adapter(of_nova_30, "placement")
    assert ("placement", True, False) == compat.admin_adapter(of_nova_31, "placement")

# SPDX-License-Identifier: Apache-2.0
"""What differs between the releases of Python and of the libraries of OpenStack that are supported.

It imports the standard library only: what a library offers is handed in by those who may import that library.
"""

from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

if sys.version_info >= (3, 11):
    from enum import StrEnum as StrEnum
else:

    class StrEnum(str, enum.Enum):
        """An enumeration whose members are strings; Python 3.10 has none of its own."""

        __str__ = str.__str__

        def __format__(self, format_spec: str) -> str:
            return str(self).__format__(format_spec)


def parse_time(text: str) -> datetime:
    """A time in the format of ISO 8601, which may end with a Z; Python 3.10 does not read that letter.

    :raises ValueError: if it is none
    """
    return datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)


_Value = TypeVar("_Value")


def subscriptable(cls: type) -> Any:
    """A class that takes a type in brackets: the given one, or a subclass of it where it is not generic.

    cliff's FormattableColumn is generic from cliff 4.9 (OpenStack 2025.1) on.
    """
    if hasattr(cls, "__class_getitem__"):
        return cls

    class Subscriptable(cls, Generic[_Value]):  # type: ignore[misc]  # a class that is handed in
        pass

    return Subscriptable


def admin_adapter(get_sdk_adapter: Callable[..., Any], service_type: str) -> Any:
    """An adapter of a service with the credentials of nova.conf.

    :param get_sdk_adapter: that of ``nova.utils``. From Nova 31 on these credentials are used only on demand
        (``admin=True``); before, there were no others and no such argument.
    """
    if "admin" in inspect.signature(get_sdk_adapter).parameters:
        return get_sdk_adapter(service_type, admin=True)
    return get_sdk_adapter(service_type)


def filters_get_candidates(host_state_class: Callable[[str, str, str], object]) -> bool:
    """Whether Nova's scheduler hands allocation candidates to its filters, as it does from Nova 27 (2023.1) on.

    :param host_state_class: Nova's HostState, made of a host, a node and the UUID of a cell
    """
    return hasattr(host_state_class("host", "node", ""), "allocation_candidates")

# SPDX-License-Identifier: Apache-2.0
"""The exceptions by which a request may end. All of them mean one thing: there is no answer that could be used."""

from __future__ import annotations

import http.client

import urllib3.exceptions
from keystoneauth1 import exceptions as ksa_exceptions

from kongming_sched.texts.printable import shorten

UNREADABLE: tuple[type[Exception], ...] = (
    ValueError,  # no JSON, no UTF-8, a number out of its limits
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,  # from some thousand brackets on
)
"""What reading an answer raises that has another shape than the service's own."""

NO_ANSWER: tuple[type[Exception], ...] = (
    ksa_exceptions.ClientException,
    OSError,  # the errors of requests, ssl and socket among it, a missing file of CAs, and TimeoutError
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    *UNREADABLE,  # from keystoneauth, which reads the answers of Keystone and the list of the service's versions
)
"""What sending a request raises, whatever is between here and the service."""


def words(error: Exception) -> str:
    """An error in words: those of keystoneauth and of the operating system say what it is, others need their kind."""
    text = shorten(str(error))
    is_plain = isinstance(error, ksa_exceptions.ClientException | OSError) and text
    return text if is_plain else f"{type(error).__name__}: {text}"

# SPDX-License-Identifier: Apache-2.0
"""A log whose lines are its own."""

from __future__ import annotations

import io
import logging

from kongming_sched.texts.records import CleanRecords


def logged(message: str, *arguments: object, error: Exception | None = None, level: int = logging.WARNING) -> str:
    """What a handler with the filter writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(CleanRecords())
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord("log", level, "file.py", 1, message, arguments, exc_info)
    handler.handle(record)
    return stream.getvalue()


def test_names_do_not_break_lines() -> None:
    """A server's name cannot write another line, move the cursor, or end the log."""
    assert "server a\nb�[2J�: moved\n" == logged("server %s: moved", "a\nb\x1b[2J\ud800")


def test_tracebacks_are_clean() -> None:
    """Also where a name stands in an error."""
    text = logged("failed", error=ValueError("\x1b]0;title\x07"))
    assert "ValueError: �]0;title�" in text
    assert "\x1b" not in text


def test_a_wrong_message_is_left_to_the_handler() -> None:
    """It says what is wrong with it, and the program goes on."""
    logging.raiseExceptions, before = False, logging.raiseExceptions
    try:
        assert "" == logged("%d servers", "no")
    finally:
        logging.raiseExceptions = before


def test_huge_messages() -> None:
    """Of a page that some server answers with a log has the ends, and one for debugging has all of it."""
    text = logged("Placement answers %s", "x" * 20_000)
    assert text.startswith("Placement answers x")
    assert " ... x" in text
    assert len(text) < 8100
    assert 20_001 == len(logged("%s", "x" * 20_000, level=logging.DEBUG))

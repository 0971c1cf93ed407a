# SPDX-License-Identifier: Apache-2.0
"""A log of clean lines, whatever the servers that it speaks of are called."""

from __future__ import annotations

import logging

from kongming_sched.texts.printable import clean_lines


class CleanRecords(logging.Filter):
    """Lets every record pass, with its message and its traceback clean."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record."""
        try:
            record.msg, record.args = clean_lines(record.getMessage()), None
        except (TypeError, ValueError, LookupError):
            return True  # the handler says what is wrong with it
        if record.exc_info:
            record.exc_text = clean_lines(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


def clean_log() -> None:
    """Clean whatever this process logs; to be called once its handlers are there."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(CleanRecords())

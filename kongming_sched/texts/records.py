# SPDX-License-Identifier: Apache-2.0
"""A log of clean lines, whatever the servers that it speaks of are called."""

from __future__ import annotations

import logging

from kongming_sched.texts.printable import clean_lines, shorten

_MAX_MESSAGE = 8000
"""Characters of a message above DEBUG: more than any of KongMing's own, and no more than syslog takes for a line."""


class CleanRecords(logging.Filter):
    """Lets every record pass, with its message and its traceback clean, and the middle of a huge message left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record."""
        try:
            message = record.getMessage()
            if record.levelno > logging.DEBUG:  # for debugging a whole answer of Placement is wanted
                message = shorten(message, _MAX_MESSAGE)
            record.msg, record.args = clean_lines(message), None
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

# SPDX-License-Identifier: Apache-2.0
"""libvirt's library in this process: its errors are not printed, and its events are handled by a thread."""

from __future__ import annotations

import contextlib
import functools
import threading

import libvirt


def silence_errors() -> None:
    """Take the place of libvirt's own handler, which prints every error to standard error."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)


@functools.cache
def start_event_loop() -> threading.Thread:
    """libvirt's event loop, one per process, which must stand before the first connection."""
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _run_event_loop() -> None:
    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()

# SPDX-License-Identifier: Apache-2.0
"""How long it takes from libvirt's event to the last pin, by libvirt's own events."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import libvirt

_BEGIN = {libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_RESUMED}
_SWITCHED_ITSELF_OFF = (libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST)
_started = threading.Event()


def start_loop() -> None:
    """libvirt's event loop, which must stand before the first connection of the process."""
    if not _started.is_set():
        _started.set()
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(_be_quiet, None)
        threading.Thread(target=_run, name="libvirt-events", daemon=True).start()


def _be_quiet(_context: object, _error: object) -> None:
    """Errors are raised; libvirt would print them too."""


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


class Stopwatch:
    """Listens on some hosts.

    :ivar begins: server id to when its process first stood; in one that waits for a migration nothing runs yet
    :ivar runs: server id to when it last began to run in a process that stood already
    :ivar pins: server id to when a pin of it was last changed
    :ivar ends: server id to when its guest last switched itself off
    """

    def __init__(self, connections: Iterable[Any]) -> None:
        self.begins: dict[str, float] = {}
        self.runs: dict[str, float] = {}
        self.pins: dict[str, float] = {}
        self.ends: dict[str, float] = {}
        for connection in connections:
            self.listen(connection)

    def listen(self, connection: Any) -> None:
        """Listen on one more connection."""
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, self._tunable, None)

    def reset(self, server: str) -> None:
        """Forget what was."""
        for times in (self.begins, self.runs, self.pins, self.ends):
            times.pop(server, None)

    def seconds(self, server: str) -> float | None:
        """From the first event that it runs to its last pin; None if nothing had to be pinned."""
        begin, pin = self.begins.get(server), self.pins.get(server)
        return None if begin is None or pin is None else max(pin - begin, 0.0)

    def _lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
        if event in _BEGIN:
            self.begins.setdefault(domain.UUIDString(), time.monotonic())
        if event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
            self.runs[domain.UUIDString()] = time.monotonic()
        if (event, detail) == _SWITCHED_ITSELF_OFF:
            self.ends[domain.UUIDString()] = time.monotonic()

    def _tunable(self, _connection: Any, domain: Any, parameters: dict[str, Any], _opaque: object) -> None:
        if any(name.startswith("cputune.") and "pin" in name for name in parameters):
            self.pins[domain.UUIDString()] = time.monotonic()

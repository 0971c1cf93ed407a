# SPDX-License-Identifier: Apache-2.0
"""A guest of the lab that migrates and does not arrive, as long as a test needs its threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed import waiting
from testbed.lab.guests import Guest, Guests


@contextmanager
def migrating(guests: Guests, guest: Guest, socket_path: Path) -> Iterator[list[str]]:
    """A guest that sends its memory over several channels to a socket that nothing reads; gives its threads' names."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path))
        listening.listen(8)
        socket_path.chmod(0o777)
        for directory in socket_path.parents[:3]:
            directory.chmod(directory.stat().st_mode | 0o055)
        capabilities = [{"capability": name, "state": True} for name in ("multifd", "pause-before-switchover")]
        guests.monitor(guest, "migrate-set-capabilities", capabilities=capabilities)
        guests.monitor(guest, "migrate-set-parameters", **{"multifd-channels": 2, "max-bandwidth": 1024})
        guests.monitor(guest, "migrate", uri=f"unix:{socket_path}")
        tasks = Path(f"/proc/{Path(f'/run/libvirt/qemu/{guest.domain}.pid').read_text().strip()}/task")
        yield waiting.until(lambda: _channels(tasks))
        guests.monitor(guest, "migrate_cancel")


def _channels(tasks: Path) -> list[str]:
    """The names of the threads of a migration; nothing before there are three of them."""
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    found = [name for name in names if name.startswith(("multifd", "mig", "live_mig"))]
    return found if len(found) > 2 else []

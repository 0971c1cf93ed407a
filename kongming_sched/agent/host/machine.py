# SPDX-License-Identifier: Apache-2.0
"""Which machine this is, so that two that answer to one name do not overwrite each other's providers in Placement.

No single mark is enough. A cloned disk brings ``/etc/machine-id`` and ``host_uuid`` of libvirtd.conf along, but
not the UUID of the firmware; some makers give many boards one UUID, and then libvirt, which refuses migrations between
hosts of one UUID, has to be given another. So a machine is known by the firmware's and libvirt's UUID together.
Without a usable one of the firmware libvirt makes up another at each start; then the machine-id has to do. It is not
taken otherwise, because a container may have one of its own, and another after each upgrade.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from pathlib import Path

_FIRMWARE = "sys/class/dmi/id/product_uuid"
_MACHINE_ID = "etc/machine-id"

_MADE_UP = frozenset(("03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"))
"""What makers of boards leave in the firmware where a UUID should be."""

_CHARACTERS = 12


def machine_mark(libvirt_uuid: str, root: Path = Path("/")) -> str:
    """A short mark of this machine, of the digits of a hexadecimal number; empty if nothing is known of it.

    :param libvirt_uuid: the host's UUID by libvirt; may be empty
    :param root: of the file system
    """
    firmware = _usable(_line(root / _FIRMWARE))
    words = ["firmware", firmware, libvirt_uuid.lower()] if firmware else ["machine-id", _line(root / _MACHINE_ID)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:_CHARACTERS].upper() if words[1] else ""


def uuid_of(capabilities: str) -> str:
    """The host's UUID in libvirt's capabilities: the firmware's, or ``host_uuid`` of libvirtd.conf. May be empty."""
    found = re.search(r"<host>\s*<uuid>([^<]*)</uuid>", capabilities)
    return found[1].strip() if found else ""


def _line(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _usable(text: str) -> str:
    """A UUID in its usual form; empty if it is none, one that is made up, or the repetition of one digit."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return ""
    return "" if str(found) in _MADE_UP or len(set(found.hex)) == 1 else str(found)

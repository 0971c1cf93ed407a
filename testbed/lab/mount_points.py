# SPDX-License-Identifier: Apache-2.0
"""Folders of the machine over which several libvirt daemons mount their own, each in a mount namespace.

When a folder is removed, the kernel undoes what other namespaces have mounted on it. So folders that are made for the
purpose are removed by the last process that uses them. All of them hold a shared lock on a record of these folders, and
the process that gets an exclusive one is the last.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RECORD = Path("/run/kongming-mount-points")
"""The folders that were made, one on each line; there only as long as they are in use."""


@contextmanager
def mount_points(folders: Iterable[Path], record: Path = RECORD) -> Iterator[None]:
    """Let folders exist as long as any process has asked for them; those that were made are then removed."""
    descriptor = _open_shared(record)
    try:
        for folder in folders:
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                os.write(descriptor, f"{folder}\n".encode())
        yield
    finally:
        with suppress(BlockingIOError):  # there are others, of which one will be the last
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(record)
        os.close(descriptor)


def _open_shared(record: Path) -> int:
    """A descriptor of the record with a shared lock on it."""
    while True:
        descriptor = os.open(record, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), record.stat()):
                return descriptor
        os.close(descriptor)  # the last user has removed it since it was opened


def _remove(record: Path) -> None:
    """Remove the folders on record, unless there is something in them, and the record."""
    for line in record.read_text().splitlines():
        with suppress(OSError):
            Path(line).rmdir()
    record.unlink()

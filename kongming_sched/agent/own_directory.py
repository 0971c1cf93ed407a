# SPDX-License-Identifier: Apache-2.0
"""Files in a directory that belongs to the agent alone. All of the run directory is opened, written and removed here.

The agent is root, and what it reads there decides on which CPUs guests run. So nothing is followed or believed that
another user could have put there: not the directory, not what leads to it, and no file in it. The kernel's
``fs.protected_symlinks`` and ``fs.protected_hardlinks`` may be off, and the directory may be configured to be in /tmp.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kongming_sched import exceptions

LOCK_NAME = "agent.lock"
SOCKET_NAME = "agent.sock"

_MARKS = frozenset((LOCK_NAME, SOCKET_NAME))
"""What only the agent makes: a directory with one of these is its run directory."""

_MAX_BYTES = 64 * 1024 * 1024
"""Of a file that is read: far more than the XML of all guests of a host."""

_MAX_LINKS = 40
"""As many symbolic links as Linux follows in one path."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class OwnDirectory:
    """A directory of this process's user, and its files.

    :param option: the option that names it, for errors
    """

    def __init__(self, path: Path, option: str = "[kongming_agent] run_directory") -> None:
        self.path = path.absolute()
        self._option = option

    def check(self) -> None:
        """See that the agent can use the directory, and change nothing; one that is not there yet is fine.

        :raises ConfigurationError: if another user could have written there, with the remedy
        :raises OSError: if it cannot be read
        """
        with contextlib.suppress(FileNotFoundError), self._opened() as descriptor:
            self._check_entries(descriptor)

    def prepare(self) -> None:
        """Make the directory if need be, check all that is in it, and close it to others.

        :raises ConfigurationError: if another user could have written there, with the remedy
        :raises OSError: if it cannot be made
        """
        self._make()
        with self._opened() as descriptor:
            self._check_entries(descriptor)
            if os.fstat(descriptor).st_mode & _OTHERS:
                os.fchmod(descriptor, 0o700)

    def read(self, name: str) -> str | None:
        """The text of a file; None if there is none.

        :raises ConfigurationError: if another user could have written it
        :raises OSError: if it cannot be read
        :raises ValueError: if it is too long, or not UTF-8
        """
        try:
            with self._opened() as directory:
                descriptor = self._open_file(directory, name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        return content.decode()

    def replace(self, name: str, text: str) -> None:
        """Put a file in place of the one before, whole or not at all, and make the directory if need be.

        :raises ConfigurationError: if another user could write to the directory
        :raises OSError: if it cannot be written
        """
        self._make()
        draft = f"{Path(name).stem}.new"
        with self._opened() as directory:
            self._remove(directory, draft)
            descriptor = os.open(
                draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
            )
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)

    def open_lock(self) -> int:
        """A descriptor of the file that is locked, which is made if it is not there.

        :raises ConfigurationError: if another user could have made it
        :raises OSError: if it cannot be opened
        """
        with self._opened() as directory:
            return self._open_file(directory, LOCK_NAME, os.O_RDWR | os.O_CREAT)

    def remove(self, name: str) -> None:
        """Remove a file, and never what a link points to; none may be there.

        :raises ConfigurationError: if another user could write to the directory
        :raises OSError: if it cannot be removed
        """
        with self._opened() as directory:
            self._remove(directory, name)

    def _make(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # some of it is to be made
            self._check_way()
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700, parents=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor of the directory, once it is clear that only root and this user could change it."""
        self._check_way()
        self._check_directory(self.path.lstat())  # first, for without rights to it the error would be another one
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._check_directory(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_way(self) -> None:
        """Check all that leads to the directory: who may rename a part of it could put another directory there."""
        pending = [*reversed(self.path.parent.parts[1:])]
        here, links = Path("/"), 0
        while True:
            status = here.lstat()
            is_link = stat.S_ISLNK(status.st_mode)
            if status.st_uid not in (0, os.geteuid()):
                raise self._error(
                    f"{here}, which leads to {self.path}, belongs to user {status.st_uid}, who could put another"
                    " directory there; name one below directories of root"
                )
            if not is_link and status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
                raise self._error(
                    f"others may write to {here}, which leads to {self.path}, and could put another directory there;"
                    f" take that from them with 'chmod go-w {here}', or name another directory"
                )
            if is_link:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self.path))
                pending += reversed(here.readlink().parts)
                here = here.parent
            if not pending:
                return
            part = pending.pop()
            here = here.parent if part == ".." else here / part  # an absolute link begins anew, with "/"

    def _check_directory(self, status: os.stat_result) -> None:
        if stat.S_ISLNK(status.st_mode):
            raise self._error(f"{self.path} is a symbolic link; name the directory itself, or remove the link")
        if not stat.S_ISDIR(status.st_mode):
            raise self._error(f"{self.path} is not a directory; remove it, or name a directory")
        if status.st_uid != os.geteuid():
            raise self._error(
                f"{self.path} belongs to user {status.st_uid}, and this is user {os.geteuid()}; run as the user to"
                " whom it belongs, which should be root, or else remove the directory"
            )
        if status.st_mode & _OTHERS_WRITE:
            raise self._error(
                f"others may write to {self.path} (mode {stat.S_IMODE(status.st_mode):04o}); remove what they have put"
                f" there, and close it with 'chmod 700 {self.path}'"
            )

    def _check_entries(self, descriptor: int) -> None:
        """Check what is in the directory, as another user may have put it there when the directory was open to others.

        A directory that others may read is closed only if it is clear that it is the agent's: not /run, say.
        """
        with os.scandir(descriptor) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        if os.fstat(descriptor).st_mode & _OTHERS and found and not _MARKS & found.keys():
            raise self._error(
                f"{self.path} holds what is not the agent's, and is open to others; name a directory of the agent's own"
            )
        for name, status in found.items():
            self._check_entry(name, status)

    def _check_entry(self, name: str, status: os.stat_result) -> None:
        path = self.path / name
        what = ""
        if stat.S_ISLNK(status.st_mode):
            what = "is a symbolic link"
        elif status.st_uid not in (0, os.geteuid()):
            what = f"belongs to user {status.st_uid}"
        elif status.st_mode & _OTHERS_WRITE:
            what = f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            what = "is a file that has another name too, a hard link"
        if what:
            raise self._error(f"{path} {what}: it is not the agent's; remove it")

    def _open_file(self, directory: int, name: str, flags: int) -> int:
        """Open a regular file that only root and this user could write."""
        with contextlib.suppress(FileNotFoundError):
            self._check_entry(name, os.stat(name, dir_fd=directory, follow_symlinks=False))
        # O_NONBLOCK because a named pipe would have no end.
        more = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags | more, 0o600, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            self._check_entry(name, status)
            if not stat.S_ISREG(status.st_mode):
                raise self._error(f"{self.path / name} is not a regular file; remove it")
        except exceptions.ConfigurationError:
            os.close(descriptor)
            raise
        return descriptor

    @staticmethod
    def _remove(directory: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)

    def _error(self, reason: str) -> exceptions.ConfigurationError:
        return exceptions.ConfigurationError(self._option, reason)

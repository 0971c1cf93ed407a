# SPDX-License-Identifier: Apache-2.0
"""One agent for a host: two would undo each other's pins, for each counts on giving CPUs away alone.

Two things are held. The name of an abstract Unix socket is one for all processes that share the host's network, as the
containers of Nova and libvirt do, whatever their files and directories are; nobody can delete it, and the kernel frees
it with the process. A lock on a file of the run directory holds for agents in networks of their own, which share that
directory with libvirt's hook. The name alone could be taken by any user of the host, who would so keep the agent from
starting; one that a process of another user holds is therefore a problem and no obstacle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import struct
from pathlib import Path

from kongming_sched import exceptions
from kongming_sched.agent.own_directory import LOCK_NAME, OwnDirectory

_MAX_NAME_CHARACTERS = 80
"""A socket's name may have 107 bytes."""

_QUEUE_LENGTH = 64
"""How many refused agents learn which process holds the name, before its next pass makes room for more."""

_CREDENTIALS = struct.Struct("3i")


class HostLock:
    """Holds the name and the run directory as long as the process lives.

    :ivar problem: why a second agent might not be noticed; empty if it would be
    """

    def __init__(self) -> None:
        self.problem = ""
        self._name = ""
        self._socket: socket.socket | None = None
        self._directory: Path | None = None
        self._descriptor = -1

    def claim(self, directory: Path, name: str) -> None:
        """Be the only agent of the host and of this directory, and let the ones before go.

        A directory that cannot be made is no error here: hooks and commands do not reach the agent then, but it pins.

        :param name: one for the host
        :raises ConfigurationError: if another agent works here, or another user could have written to the directory
        """
        holder, problem = (self._socket, self.problem) if name == self._name else _hold(name)
        descriptor = self._descriptor
        if directory != self._directory:
            try:
                descriptor = _lock_directory(directory)
            except OSError:  # which the listener reports
                descriptor = -1
            except exceptions.ConfigurationError:
                if holder is not None and holder is not self._socket:
                    holder.close()
                raise
        if self._socket is not None and self._socket is not holder:
            self._socket.close()
        if self._descriptor not in (-1, descriptor):
            os.close(self._descriptor)
        self._name, self._socket, self.problem = name, holder, problem
        self._directory, self._descriptor = directory, descriptor

    def renew(self) -> bool:
        """See that both are still held, and hold again what is not; whether the file had been removed or replaced.

        :raises ConfigurationError: if another agent has the file now, or it cannot be trusted
        :raises OSError: if it cannot be made again
        """
        if self._socket is None:
            with contextlib.suppress(exceptions.ConfigurationError):  # only one that begins is refused
                self._socket, self.problem = _hold(self._name)
        else:
            _hang_up(self._socket)
        if self._directory is None or (self._descriptor >= 0 and self._is_in_place(self._directory)):
            return False
        was_held = self._descriptor >= 0
        descriptor = _lock_directory(self._directory)
        if was_held:
            os.close(self._descriptor)
        self._descriptor = descriptor
        return was_held

    def release(self) -> None:
        """Let go of both; the end of the process does it too."""
        if self._socket is not None:
            self._socket.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._socket, self._descriptor, self._directory, self._name = None, -1, None, ""

    def _is_in_place(self, directory: Path) -> bool:
        try:
            there = (directory / LOCK_NAME).lstat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))


def _hold(name: str) -> tuple[socket.socket | None, str]:
    """A socket with this name, or why there is none although no agent has it.

    :raises ConfigurationError: if another agent has it
    """
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(_address(name))
        holder.listen(_QUEUE_LENGTH)  # so that who connects learns which process it is
    except OSError as error:
        holder.close()
        if error.errno != errno.EADDRINUSE:
            return None, f"the name {name!r} cannot be held, so that a second agent would not be noticed: {error}"
    else:
        return holder, ""
    process, user = _holder_of(name)
    if user not in (None, 0, os.geteuid()):
        return None, (
            f"process {process} of user {user} holds the name {name!r} that only an agent should hold, so that a second"
            " agent would not be noticed; end it, or set [kongming_agent] lock_name"
        )
    raise exceptions.ConfigurationError(
        "[kongming_agent] lock_name",
        f"another agent, process {process or 'unknown'}, works on this host; end one of them",
    )


def _holder_of(name: str) -> tuple[int | None, int | None]:
    """The process that has a name and its user; None if it does not say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(_address(name))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None, None
    process, user, _ = _CREDENTIALS.unpack(credentials)
    return process or None, user


def _hang_up(holder: socket.socket) -> None:
    """Let those who have asked go, so that there is room for others."""
    holder.setblocking(False)
    with contextlib.suppress(OSError):
        for _ in range(_QUEUE_LENGTH):
            holder.accept()[0].close()


def _address(name: str) -> bytes:
    text = name if len(name) <= _MAX_NAME_CHARACTERS else hashlib.sha256(name.encode()).hexdigest()
    return b"\0" + text.encode()


def _lock_directory(directory: Path) -> int:
    """Lock the file of a directory and write this process's id into it; gives its descriptor.

    :raises ConfigurationError: if another agent has it, or another user could have written to the directory
    :raises OSError: if it cannot be made
    """
    own = OwnDirectory(directory)
    own.prepare()
    descriptor = own.open_lock()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        other = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise exceptions.ConfigurationError(
            "[kongming_agent] run_directory",
            f"another agent, process {other or 'unknown'}, works on this host with {directory}; end one of them",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor

# SPDX-License-Identifier: Apache-2.0
"""Calls through the door of the emulated host, from outside."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testbed.lab.process import LabError
from testbed.numa_host.command_server import CHUNK_BYTES, ERRORS, HEADER, INPUT, OUTPUT, STATUS, frame

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 10.0


class Caller:
    """Runs commands in the emulated host.

    :param port: where this machine's loopback leads to the door
    :param word: what the door asks for
    """

    def __init__(self, port: int, word: str) -> None:
        self._port = port
        self._word = word

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a command without input, to its end.

        :raises LabError: if the host does not answer
        """
        said: dict[bytes, bytearray] = {OUTPUT: bytearray(), ERRORS: bytearray()}
        status = self.converse(command, {}, None, lambda kind, data: said[kind].extend(data))
        words = [str(word) for word in command]
        texts = [bytes(said[kind]).decode(errors="replace") for kind in (OUTPUT, ERRORS)]
        return subprocess.CompletedProcess(words, status, *texts)

    def converse(
        self,
        command: Sequence[str | Path],
        files: Mapping[str, str],
        source: int | None,
        hear: Callable[[bytes, bytes], None],
    ) -> int:
        """Run a command, and give its exit status. It is killed if this process ends before.

        :param files: what shall stand in which files before it starts
        :param source: the descriptor that its input comes from; None for no input
        :param hear: called with OUTPUT or ERRORS and what was said there
        :raises LabError: if the host does not answer, or goes away
        """
        request = {"word": self._word, "command": [str(word) for word in command], "files": dict(files)}
        try:
            with socket.create_connection((LOOPBACK, self._port), CONNECT_SECONDS) as connection:
                connection.settimeout(None)
                connection.sendall(json.dumps(request).encode() + b"\n")
                if source is None:
                    connection.sendall(frame(INPUT, b""))
                return _listen(connection, source, hear)
        except OSError as error:
            raise LabError(f"the emulated host does not answer: {error}") from None


def _listen(connection: socket.socket, source: int | None, hear: Callable[[bytes, bytes], None]) -> int:
    with selectors.SelectSelector() as waiting:  # any file will do, as /dev/null, which others refuse
        waiting.register(connection, selectors.EVENT_READ)
        if source is not None:
            waiting.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is connection:
                    kind, data = _next(connection)
                    if kind == STATUS:
                        return int(data)
                    hear(kind, data)
                elif source is not None:
                    data = os.read(source, CHUNK_BYTES)
                    connection.sendall(frame(INPUT, data))
                    if not data:
                        waiting.unregister(source)


def _next(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, length = HEADER.unpack(_exactly(connection, HEADER.size))
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise ConnectionError("it hung up")
        data += part
    return bytes(data)


def write_all(descriptor: int, data: bytes) -> None:
    """Write, however many calls that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

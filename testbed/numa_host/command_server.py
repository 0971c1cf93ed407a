# SPDX-License-Identifier: Apache-2.0
"""The door of the emulated host: runs commands for callers that know the word, as ssh does, and ends them with these.

``python -m testbed.numa_host.command_server FILE`` runs inside, where FILE is a JSON document with the port and the
word. A caller sends a line of JSON with the word, the command, and files that are written before; then both sides send
frames: a letter, the length, and what there is to say. When the connection ends, so does all that the command has
started.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import signal
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

HEADER = struct.Struct(">cI")
INPUT, OUTPUT, ERRORS, STATUS = b"i", b"o", b"e", b"x"
"""What a frame holds. Input of length 0 is its end."""

CHUNK_BYTES = 65536
_LINE_BYTES = 1 << 20


def frame(kind: bytes, data: bytes) -> bytes:
    """The bytes of a frame."""
    return HEADER.pack(kind, len(data)) + data


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next frame.

    :raises IncompleteReadError: at the end of the connection
    """
    kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
    return kind, await reader.readexactly(length)


class Door:
    """Lets callers in.

    :param word: what they must know
    """

    def __init__(self, word: str) -> None:
        self._word = word

    async def open(self, port: int) -> None:
        """Serve until the process ends."""
        # Under the address that QEMU forwards to, which is not loopback.
        server = await asyncio.start_server(self._serve, "0.0.0.0", port, limit=_LINE_BYTES)  # noqa: S104
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, json.JSONDecodeError):
            request = json.loads(await reader.readline())
            if hmac.compare_digest(str(request.get("word")), self._word):
                write_files(request["files"])
                await _run(request["command"], reader, writer)
        writer.close()


def write_files(files: Mapping[str, str]) -> None:
    """Write files that only their owner may read."""
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)


async def _run(command: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
    except OSError as error:
        writer.write(frame(ERRORS, f"{error}\n".encode()) + frame(STATUS, b"127"))
        await writer.drain()
        return
    feeding = asyncio.create_task(_feed(process, reader))
    speaking = [
        asyncio.create_task(_speak(stream, kind, writer))
        for stream, kind in ((process.stdout, OUTPUT), (process.stderr, ERRORS))
    ]
    status = await process.wait()
    # What it has left behind may keep its output open for ever.
    await asyncio.wait(speaking, timeout=2)
    for task in (feeding, *speaking):
        task.cancel()
    writer.write(frame(STATUS, str(status).encode()))
    await writer.drain()


async def _feed(process: asyncio.subprocess.Process, reader: asyncio.StreamReader) -> None:
    """Hand the caller's input on; kill all that was started when the caller is gone."""
    assert process.stdin
    try:
        while True:
            _, data = await read_frame(reader)
            with suppress(ConnectionError):
                if data:
                    process.stdin.write(data)
                    await process.stdin.drain()
                else:
                    process.stdin.close()
    except (ConnectionError, asyncio.IncompleteReadError):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _speak(stream: Any, kind: bytes, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read(CHUNK_BYTES):
        with suppress(ConnectionError):
            writer.write(frame(kind, data))
            await writer.drain()


def main() -> None:
    """Let callers in until the process ends."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(Door(settings["word"]).open(settings["port"]))


if __name__ == "__main__":
    main()

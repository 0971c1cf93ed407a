# SPDX-License-Identifier: Apache-2.0
"""Gives the running agent an order over its socket; loop/orders.py carries it out.

An order is a line of greeting and a JSON object; the answer is a JSON object with ``lines``, or with ``error``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kongming_sched import exceptions

GREETING = b"kongming-order 1\n"
"""Before the order, so that an agent and a command of different releases do not misunderstand each other."""

PATIENCE_SECONDS = 600.0
"""How long a command waits: the memory of a large guest takes its time to another node."""

_MAX_ANSWER_BYTES = 4 * 1024 * 1024


def send(path: Path, order: Mapping[str, object]) -> dict[str, Any]:
    """Give an order to the agent at this socket, and wait for its answer.

    :raises AgentError: if there is no agent, it gives no answer, or it did not do it
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(str(path))
            connection.sendall(GREETING + json.dumps(order).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = _receive(connection)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise exceptions.AgentError(f"no agent listens at {path}; start kongming-agent, it does the work") from error
    except OSError as error:
        raise exceptions.AgentError(f"the agent at {path} cannot be asked: {error}; look at its log") from error
    if answer is None:
        raise exceptions.AgentError(f"the agent at {path} gave no answer; look at its log for how it ended")
    if refusal := answer.get("error"):
        raise exceptions.AgentError(str(refusal))
    return answer


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    received = bytearray()
    while len(received) < _MAX_ANSWER_BYTES and (chunk := connection.recv(65536)):
        received += chunk
    try:
        answer = json.loads(received)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None

# SPDX-License-Identifier: Apache-2.0
"""A command is found in Placement's log by an id that it says with -v."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest
from oslo_context import context
from placement import requestlog

from tests.functional.cli.conftest import Write
from tests.functional.cli.shell import Shell


class Log(logging.Handler):
    """What Placement logs of requests, each with the id that stands before it in the log's lines.

    :ivar lines: pairs of global request id and message
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str | None, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line as oslo.log writes it, by the context of the request."""
        current = context.get_current()
        assert current
        self.lines.append((current.global_request_id, record.getMessage()))

    def ids_of(self, words: str) -> set[str | None]:
        """The ids of the requests in whose lines these words stand."""
        return {request_id for request_id, line in self.lines if words in line}


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of all requests from here on."""
    handler, logger = Log(), requestlog.LOG.logger
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


TOLD = re.compile(r"Placement and Nova log this command as (req-[-0-9a-f]{36})\n")


def test_a_command_says_how_it_is_logged(openstack: Shell, write: Write, log: Log) -> None:
    """All its requests, reads and writes, have the id that it says with -v; another command has another one."""
    path = write("name: logged\ncells: [{vcpus: 0-1, cpus: dedicated}]")
    done = openstack("-v kongming template create --file", path)
    assert 0 == done.code
    (request_id,) = TOLD.findall(done.err)
    assert {request_id} == log.ids_of("/resource_providers/") == log.ids_of("PUT ") == log.ids_of("POST ")

    log.lines.clear()
    assert 0 == openstack("kongming template delete logged --force").code
    (other,) = log.ids_of("DELETE ")
    assert other not in (None, request_id)


def test_nothing_is_said_without_v(openstack: Shell) -> None:
    """The id is no part of what a command prints."""
    assert "" == openstack("kongming template list").err


def test_nova_is_asked_with_it(openstack_with_nova: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """Nova gets the id too, in the header that all services read."""
    caplog.set_level(logging.DEBUG, "keystoneauth.session")  # which another test of this process may have silenced
    done = openstack_with_nova("--debug kongming server list")
    (request_id,) = set(TOLD.findall(done.err))
    asked = [line for line in done.err.splitlines() if "curl" in line and "/servers/detail" in line]
    assert asked
    assert all(f'-H "X-OpenStack-Request-ID: {request_id}"' in line for line in asked)

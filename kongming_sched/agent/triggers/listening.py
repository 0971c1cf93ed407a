# SPDX-License-Identifier: Apache-2.0
"""Receives Nova's notifications through oslo.messaging, beside other listeners."""

from __future__ import annotations

import abc
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import timezone
from typing import Any

from oslo_config import cfg
from oslo_log import log

from kongming_sched import compat, exceptions
from kongming_sched.agent.triggers.base import OPTION, Trigger, TriggerContext
from kongming_sched.agent.triggers.queue_limits import QueueLimits
from kongming_sched.agent.triggers.supervised import SupervisedThread

with warnings.catch_warnings():  # of eventlet, which its libraries import where it is there; nothing here runs on it
    warnings.simplefilter("ignore")
    import oslo_messaging
    from oslo_messaging import exceptions as messaging_exceptions

LOG = log.getLogger(__name__)

EXCHANGE = "nova"
"""Nova's default of ``[DEFAULT] control_exchange``."""

_RETRY_SECONDS = 10.0
_CONNECT_SECONDS = 5.0


class ListeningTrigger(Trigger):
    """A listener with a queue of its own, named for the host, so that it takes nothing away from other readers.

    A thread of its own waits for the broker as long as that does not answer.

    :cvar event_types: a regular expression of the events that count
    """

    event_types: str

    def __init__(self, context: TriggerContext) -> None:
        super().__init__(context)
        self._started_at = time.monotonic()
        self._transport: Any = None
        self._server: Any = None
        self._thread: SupervisedThread | None = None
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._reason = ""
        self._limits = QueueLimits()

    @property
    @abc.abstractmethod
    def topics(self) -> list[str]:
        """Where to listen."""

    @abc.abstractmethod
    def hear(self, event_type: str, payload: Mapping[str, Any], sent_at: float) -> None:
        """Take in a notification.

        :param sent_at: when it was sent, in seconds since the epoch
        """

    def start(self) -> None:
        """Find the transport, and begin to connect.

        :raises ConfigurationError: if the options name no transport that could be used
        """
        self.check()
        self._thread = SupervisedThread("notifications", self._listen, self.context.wake)
        self._thread.start()

    def check(self) -> None:
        """Find the transport.

        :raises ConfigurationError: if the options name none that could be used
        """
        conf = self.context.conf
        oslo_messaging.set_transport_defaults(EXCHANGE)
        try:
            self._transport = oslo_messaging.get_notification_transport(conf)
        except (messaging_exceptions.MessagingException, ValueError) as error:
            raise exceptions.ConfigurationError(
                OPTION,
                f"{type(self).__name__} finds no transport by [oslo_messaging_notifications] transport_url or [DEFAULT]"
                f" transport_url: {error}",
            ) from error
        self._limits.apply(self._transport)
        if not conf.oslo_messaging_notifications.transport_url and _is_default(conf, "transport_url"):
            raise exceptions.ConfigurationError(
                "[oslo_messaging_notifications] transport_url",
                f"is not set, and neither is [DEFAULT] transport_url, but {OPTION} asks for notifications; hand the"
                " agent nova.conf too",
            )

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()
        self._end()
        if self._thread is not None:
            self._thread.stop()

    def _end(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            server.wait()
            self._transport.cleanup()

    @property
    def problem(self) -> str:
        """How its thread has failed, or where the broker is that does not answer."""
        if self._thread is None or self._connected.is_set():
            return ""
        if self._thread.problem:
            return self._thread.problem
        return f"the broker does not answer yet at {self._where()}{self._reason}"

    def _url(self) -> Any:
        conf = self.context.conf
        return oslo_messaging.TransportURL.parse(conf, conf.oslo_messaging_notifications.transport_url)

    def _where(self) -> str:
        """The transport's hosts, without passwords."""
        url = self._url()
        hosts = ",".join(f"{host.hostname}:{host.port}" for host in url.hosts)
        return f"{url.transport}://{hosts}/{url.virtual_host or ''}"

    def _is_reachable(self) -> bool:
        """Whether a broker takes connections: oslo.messaging waits for one for ever, and nothing can end that."""
        reasons = []
        for host in self._url().hosts:
            if not host.hostname or not host.port:
                return True  # only the driver knows
            try:
                socket.create_connection((host.hostname, host.port), _CONNECT_SECONDS).close()
            except OSError as error:
                reasons.append(str(error))
            else:
                return True
        self._reason = f": {', '.join(dict.fromkeys(reasons))}" if reasons else ""
        return not reasons

    def _listen(self) -> None:
        while not self._stopping.is_set():
            if not self._is_reachable():
                self._stopping.wait(_RETRY_SECONDS)
                continue
            targets = [oslo_messaging.Target(topic=topic, exchange=self._exchange()) for topic in self.topics]
            endpoint = _Endpoint(self.event_types, self._hear)
            try:
                server = oslo_messaging.get_notification_listener(
                    self._transport, targets, [endpoint], executor="threading", pool=self._pool()
                )
                server.start()
            except (messaging_exceptions.MessagingException, OSError) as error:
                self._reason = f": {error}"
                self._stopping.wait(_RETRY_SECONDS)
                continue
            self._server = server
            self._limits.check(str(self._url().transport))
            if self._thread is not None:
                self._thread.is_well()
            self._connected.set()
            if self._stopping.is_set():  # while the broker was waited for
                self._end()
            return

    def _exchange(self) -> str:
        return str(self.context.conf.control_exchange or EXCHANGE)

    def _pool(self) -> str:
        return ".".join(("kongming", self.context.host, *self.topics))

    def _hear(self, event_type: str, payload: object, sent: object) -> None:
        sent_at = _seconds(sent)
        if not isinstance(payload, Mapping):
            return
        self.hear(event_type, payload, time.time() if sent_at is None else sent_at)

    def is_backlog(self, sent_at: float) -> bool:
        """Whether a notification waited in the queue for this agent to start: there may be later ones behind it.

        By how long this agent runs, for the clock of the day may have been set back since.
        """
        return sent_at < time.time() - (time.monotonic() - self._started_at)


def _is_default(conf: cfg.ConfigOpts, option: str) -> bool:
    """Whether an option is not set."""
    location = conf.get_location(option)
    return location is None or location.location is cfg.Locations.opt_default


class _Endpoint:
    """What oslo.messaging calls; Nova sends what counts here at the priorities info and error."""

    def __init__(self, event_types: str, hear: Callable[[str, object, object], None]) -> None:
        self.filter_rule = oslo_messaging.NotificationFilter(event_type=event_types)
        self._hear = hear

    def info(
        self, _context: object, _publisher: str, event_type: str, payload: object, metadata: Mapping[str, object]
    ) -> None:
        """A notification."""
        try:
            self._hear(event_type, payload, metadata.get("timestamp"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            LOG.warning("a notification %s could not be read: %r", event_type, error)


def _seconds(timestamp: object) -> float | None:
    """Seconds since the epoch of oslo.messaging's timestamps, which are UTC and do not say so."""
    try:
        moment = compat.parse_time(str(timestamp))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()

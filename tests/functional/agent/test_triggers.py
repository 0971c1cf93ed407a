# SPDX-License-Identifier: Apache-2.0
"""Triggers, hearing what Nova's own code sends over oslo.messaging's transport of this process."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nova import context, rpc
from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.model.view import OverrideRequest
from kongming_sched.agent.state.server_metadata import Metadata
from kongming_sched.agent.triggers import listening
from kongming_sched.agent.triggers.base import DomainEvents, TriggerContext, Triggers
from kongming_sched.conf import agent as agent_conf
from kongming_sched.template import PinningTemplate
from testbed.waiting import until
from tests.functional.agent.nova_notices import TRANSPORT, end_of, nova_sends, update
from tests.functional.agent.world import TEMPLATES, World, store_templates
from tests.functional.conftest import PlacementService

SERVER = "5e00e000-0000-4000-8000-000000000001"
OTHER = "5e00e000-0000-4000-8000-000000000002"
CPUS = {"kongming:cpus": "5"}
MORE = {"kongming:cpus": "6", "owner": "me"}


@dataclass
class Heard:
    """An agent's triggers, and what came of them."""

    triggers: Triggers
    metadata: Metadata
    events: DomainEvents
    passes: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def wait(self, condition: Callable[[], object]) -> None:
        """Until it holds."""
        until(condition, lambda: f"passes {self.passes}, asked {self.asked}, requests {self.metadata.requests()}: it")


Listen = Callable[..., Heard]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Starts triggers with these lines of configuration."""
    started: list[Heard] = []

    def start(
        *names: str,
        default: str = f"transport_url = {TRANSPORT}",
        host: str = "node1",
        metadata: Metadata | None = None,
        nova: bool = False,
    ) -> Heard:
        path = tmp_path / "agent.conf"
        path.write_text(f"[DEFAULT]\n{default}\n[kongming_agent]\ninterval_seconds = 7\nrun_directory = {tmp_path}\n")
        conf = cfg.ConfigOpts()
        agent_conf.register_opts(conf)
        conf([], default_config_files=[str(path)])
        passes: list[float] = []
        asked: list[str] = []
        metadata, events = metadata or Metadata(), DomainEvents()

        def wake() -> None:
            passes.append(time.monotonic())

        context = TriggerContext(conf, host, wake, metadata, asked.append if nova else None, events)
        heard = Heard(Triggers(names, context), metadata, events, passes, asked)
        heard.triggers.start()
        started.append(heard)
        heard.wait(lambda: not heard.triggers.problems or "rabbit" in default)
        return heard

    yield start
    for heard in started:
        heard.triggers.stop()


@pytest.fixture(params=["versioned", "both"])
def versioned(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Nova that sends versioned notifications."""
    with nova_sends(request.param):
        yield


@pytest.mark.usefixtures("versioned")
def test_metadata_is_learnt_from_versioned_notifications(listen: Listen) -> None:
    """Set, changed and unset: each is a reason for a pass, and what other services wrote is none."""
    heard = listen("notifications")
    seen = []
    for number, metadata in enumerate((CPUS, MORE, {"owner": "you"}), 1):
        update(SERVER, "node1", metadata)
        heard.wait(lambda count=number: len(heard.passes) == count)
        seen.append(heard.metadata.requests())
    assert [{SERVER: OverrideRequest(CPUS)}, {SERVER: OverrideRequest({"kongming:cpus": "6"})}, {}] == seen


@pytest.mark.usefixtures("versioned")
def test_every_host_has_a_queue_of_its_own(listen: Listen) -> None:
    """Nobody takes a notification away from another, and each hears of servers that may come to it later."""
    here, there = listen("notifications"), listen("notifications", host="node2")
    update(SERVER, "node2", CPUS)
    for heard in (here, there):
        heard.wait(heard.metadata.requests)
        assert {SERVER: OverrideRequest(CPUS)} == heard.metadata.requests()


@pytest.mark.usefixtures("versioned")
def test_what_waited_in_the_queue_counts_by_its_time(listen: Listen) -> None:
    """A new listener is handed what piled up: the newest word on each server counts, what is known to be older does
    not, and only what is new starts a pass.
    """
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    ago = [now - datetime.timedelta(hours=hours) for hours in (3, 2, 1)]
    metadata = Metadata()
    metadata.learn(OTHER, MORE, now.replace(tzinfo=datetime.timezone.utc).timestamp() - 1800)
    for moment, cpus in zip(ago, "789", strict=True):
        update(SERVER, "node1", {"kongming:cpus": cpus}, moment)
    update(OTHER, "node1", CPUS, ago[2])
    heard = listen("notifications", metadata=metadata)
    heard.wait(lambda: heard.metadata.requests().get(SERVER) == OverrideRequest({"kongming:cpus": "9"}))
    assert [] == heard.passes
    update(SERVER, "node1", CPUS)
    heard.wait(lambda: heard.passes)
    assert {
        SERVER: OverrideRequest(CPUS),
        OTHER: OverrideRequest({"kongming:cpus": "6"}),
    } == heard.metadata.requests()


@pytest.mark.usefixtures("versioned")
def test_clock_set_back(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent by a clock that was set back is heard, and nobody takes it for what waited in the queue."""

    class Clocks:
        """The clocks of a machine; only that of the day can be set."""

        behind = 0.0
        monotonic = staticmethod(time.monotonic)

        @classmethod
        def time(cls) -> float:
            return time.time() - cls.behind

    monkeypatch.setattr(listening, "time", Clocks)
    heard = listen("notifications", metadata=Metadata(clock=Clocks.time))
    update(SERVER, "node1", CPUS)
    heard.wait(lambda: len(heard.passes) == 1)

    Clocks.behind = 3600.0
    an_hour_ago = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(hours=1)
    update(SERVER, "node1", MORE, an_hour_ago)
    heard.wait(lambda: len(heard.passes) == 2)

    assert {SERVER: OverrideRequest({"kongming:cpus": "6"})} == heard.metadata.requests()


@pytest.mark.usefixtures("versioned")
def test_where_nova_can_be_asked_it_is(listen: Listen) -> None:
    """A notification only says of which server."""
    heard = listen("notifications", nova=True)
    update(SERVER, "node1", CPUS)
    heard.wait(lambda: heard.asked)
    assert ([SERVER], {}) == (heard.asked, heard.metadata.requests())


def test_legacy_notifications_have_nova_asked(listen: Listen) -> None:
    """They do not say it in a format to rely on."""
    with nova_sends("unversioned"):
        heard = listen("legacy_notifications", nova=True)
        update(SERVER, "node1", CPUS)
        heard.wait(lambda: heard.asked)
    assert ([SERVER], {}) == (heard.asked, heard.metadata.requests())


@pytest.mark.parametrize("trigger", ["notifications", "legacy_notifications"])
def test_end_of_an_action_here_is_a_reason_to_look(listen: Listen, trigger: str) -> None:
    """And what was known of a deleted server goes; what happens elsewhere is none of our business."""
    with nova_sends("both"):
        heard = listen(trigger, nova=True)
        for server in (SERVER, OTHER):
            heard.metadata.learn(server, CPUS)
        end_of("delete", OTHER, "node2", CPUS)
        end_of("delete", SERVER, "node1", CPUS)
        heard.wait(lambda: heard.passes)
        assert {} == heard.metadata.requests()
        assert 1 == len(heard.passes)


@pytest.mark.usefixtures("versioned")
def test_a_notification_that_is_none_is_passed_over(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the next one is heard."""
    heard = listen("notifications")
    notifier = rpc.NOTIFIER.prepare(publisher_id="another:service")
    for payload in ({"uuid": SERVER}, {"nova_object.data": None}, "text"):
        notifier.info(context.RequestContext(), "instance.update", payload)
    update(SERVER, "node1", CPUS)
    heard.wait(heard.metadata.requests)
    assert 2 == caplog.text.count("a notification instance.update could not be read")


@pytest.mark.parametrize(
    ("names", "default", "words"),
    [
        pytest.param(
            ["libvirt", "lamp"],
            "",
            ["option [kongming_agent] triggers: there is no trigger 'lamp'", "libvirt, notifications, timer"],
            id="unknown",
        ),
        pytest.param(
            ["notifications"],
            "",
            ["option [oslo_messaging_notifications] transport_url: is not set", "[kongming_agent] triggers asks for"],
            id="no transport",
        ),
        pytest.param(
            ["notifications"],
            "transport_url = pigeon://user:secret@loft/",
            ["option [kongming_agent] triggers: ", "transport_url", "pigeon"],
            id="unknown transport",
        ),
        pytest.param(
            ["legacy_notifications"],
            f"transport_url = {TRANSPORT}",
            ["'legacy_notifications' asks Nova's API, and [kongming_nova] auth_type is not set"],
            id="no way to Nova",
        ),
    ],
)
def test_what_can_never_start(listen: Listen, names: list[str], default: str, words: list[str]) -> None:
    """One message names the option and what is wrong with it, without the password, and nothing goes on running."""
    before = set(threading.enumerate())
    with pytest.raises(exceptions.ConfigurationError) as caught:
        listen(*names, default=default)
    assert [] == [word for word in words if word not in str(caught.value)]
    assert "secret" not in str(caught.value)
    assert before == set(threading.enumerate())


def test_a_broker_that_is_away_stops_nobody(listen: Listen) -> None:
    """It is said where it should be, without the password; the other triggers work, and no thread goes on waiting."""
    before = set(threading.enumerate())
    heard = listen("notifications", "libvirt", default="transport_url = rabbit://user:secret@127.0.0.1:1/cloud")
    where = "the broker does not answer yet at rabbit://127.0.0.1:1/cloud"
    heard.wait(lambda: "refused" in heard.triggers.problems[0].text)
    assert [f"trigger notifications: {where}: [Errno 111] Connection refused"] == list(
        map(str, heard.triggers.problems)
    )
    heard.events()
    assert 1 == len(heard.passes)
    heard.triggers.stop()
    assert before == set(threading.enumerate())


@pytest.mark.usefixtures("versioned")
def test_no_thread_outlives_its_trigger(listen: Listen) -> None:
    """Whatever was sent meanwhile."""
    before = set(threading.enumerate())
    heard = listen("notifications", "libvirt", "timer")
    assert before < set(threading.enumerate())
    update(SERVER, "node1", CPUS)
    heard.triggers.stop()
    assert before == set(threading.enumerate())
    passes = len(heard.passes)
    heard.events()
    assert passes == len(heard.passes)


def test_the_timer_has_its_interval(listen: Listen) -> None:
    """Without it no pass is made but for a reason."""
    assert (7.0, None) == (
        listen("timer", "libvirt").triggers.interval_seconds,
        listen("libvirt").triggers.interval_seconds,
    )


@pytest.mark.usefixtures("versioned")
def test_pins_follow_a_notification(
    placement: PlacementService, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Nova's word to the pins of the guest, on the real Placement."""
    mapping = {"name": "open", "cells": [{"vcpus": "0", "cpus": "explicit", "pins": "7,15"}], "override": "allowed"}
    monkeypatch.setitem(TEMPLATES, "open", PinningTemplate.from_mapping(mapping))
    store_templates(placement.client)
    world = World(placement, "host")
    world.settle()
    world.boot("a", "open", 1)
    world.settle()
    heard = listen("notifications", metadata=world.metadata)
    seen = [world.pins()["a"][0]]
    for number, metadata in enumerate(({"kongming-vcpu-pinning": "7-15,^8-14"}, {"kongming:cpus": "15"}, {}), 1):
        update(world.servers["a"], "node1", metadata)
        heard.wait(lambda count=number: len(heard.passes) == count)
        assert () == world.settle().problems
        seen.append(world.pins()["a"][0])
    assert ["7,15", "7,15", "15", "7,15"] == seen

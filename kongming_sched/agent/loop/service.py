# SPDX-License-Identifier: Apache-2.0
"""kongming-agent's loop: reconciles the host whenever something has happened, and every so often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

from oslo_config import cfg
from oslo_log import log

from kongming_sched import exceptions
from kongming_sched.agent.act.follow_memory import Follower
from kongming_sched.agent.act.mover import Mover
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.host.ports import Kernel, PlainHypervisor
from kongming_sched.agent.ipc.question import Question
from kongming_sched.agent.loop.attendant import Attendant
from kongming_sched.agent.loop.orders import Order, OrderAnswer, ReconcilerAccess, answer_order, carry_out
from kongming_sched.agent.loop.parts import assemble
from kongming_sched.agent.loop.patience import Patience, PatientHypervisor
from kongming_sched.agent.loop.presence import Presence
from kongming_sched.agent.loop.reconcile import Reconciler
from kongming_sched.agent.loop.sign_of_life import SignOfLife
from kongming_sched.agent.model.outcome import Outcome, StartAnswer
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind, one_per_subject
from kongming_sched.agent.settings import Settings, placement_adapter, read_settings
from kongming_sched.agent.state.backoff import Backoff
from kongming_sched.agent.state.server_metadata import METADATA_NAME, Metadata
from kongming_sched.agent.telemetry.change_log import ChangeLog
from kongming_sched.agent.telemetry.log_report import LogReport
from kongming_sched.agent.telemetry.systemd import Systemd
from kongming_sched.agent.telemetry.telemetry import Telemetry
from kongming_sched.agent.triggers import base as triggers
from kongming_sched.agent.triggers.event_sources import EventSources
from kongming_sched.placement.client import PlacementClient
from kongming_sched.pools import HostCpus

LOG = log.getLogger(__name__)

_RETRY_SECONDS = 5.0
"""How soon to try again when libvirt, Placement or nova-compute's provider is not there."""


class Agent:
    """The loop. Events, signals and time only say when to reconcile.

    :param conf: parsed options, which SIGHUP reads again
    :param connect: makes the hypervisor; handed the libvirt URI and what to call on an event
    :param kernel: what reads /proc and /sys
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        connect: Callable[[str, Callable[[], None]], PlainHypervisor] = LibvirtHypervisor,
        kernel: Kernel | None = None,
    ) -> None:
        self._conf = conf
        self._connect = connect
        self._kernel = Host() if kernel is None else kernel
        self._wake = threading.Event()
        self._stopping = False
        self._reload = False
        self._log = LogReport()
        self._changes = ChangeLog()
        self._events = triggers.DomainEvents()
        self._event_sources: EventSources | None = None
        self._reconciler: Reconciler | None = None
        self._sign: SignOfLife | None = None
        self._started = False
        self._telemetry = Telemetry(Systemd())
        self._presence = Presence(self._ask, self._telemetry.liveness.is_working)
        self._attendant = Attendant(self._presence.take_starts, self._clear)
        self._follower = Follower(Backoff(_RETRY_SECONDS))
        self._configure(read_settings(conf))

    def stop(self, *_: int | FrameType | None) -> None:
        """End after the pass that is under way; guests keep their pins."""
        self._stopping = True
        self._wake.set()

    def reload(self, *_: int | FrameType | None) -> None:
        """Read the configuration files again."""
        self._reload = True
        self._wake.set()

    def run(self) -> None:
        """Reconcile until stopped.

        :raises ConfigurationError: if another agent works on this host, or if at the first pass the host cannot have
            what the options ask for
        """
        self._presence.claim(self._settings)
        while not self._stopping:
            self._wake.clear()
            if self._reload:
                self._reread()
            self._presence.renew(self._settings)
            self._attendant.serve()
            pause = self._reconcile()
            self._carry_out_next()
            self._telemetry.rest(self._settings, self._wake, pause)
        self._telemetry.close()
        self._presence.end()
        self._stop_event_sources()
        self._hypervisor.close()
        self._changes.close()
        LOG.info("stopped; the servers keep their pins")

    def _configure(self, settings: Settings) -> None:
        """Take new settings into use."""
        client = PlacementClient(self._telemetry.follow(placement_adapter(self._conf)))
        self._settings = settings
        self._changes.write_to(settings.history_file, settings.history_max_mb)
        self._client = client
        self._patience = Patience()
        plain = self._connect(settings.libvirt_uri, self._hear)
        self._hypervisor = PatientHypervisor(plain, self._kernel, self._patience, self._telemetry.progress)
        self._reconciler = None
        self._stop_event_sources()

    def _stop_event_sources(self) -> None:
        sources, self._event_sources = self._event_sources, None
        if sources is not None:
            sources.stop()

    def _ask(self) -> None:
        """A hook or a command has come; called by the listener's threads."""
        self._attendant.stir()
        self._wake.set()

    def _clear(self, xml: str) -> StartAnswer:
        if self._reconciler is None:
            return StartAnswer("", refusal="the agent has not seen this host yet", is_transient=True)
        return self._reconciler.clear(self._host_cpus(), xml)

    def _hear(self) -> None:
        self._telemetry.hear()
        self._events()

    def _reread(self) -> None:
        """Take the changed configuration files, or none of them if something is wrong."""
        self._reload = False
        self._telemetry.reload()
        previous = self._hypervisor
        wrong: exceptions.KongMingError | None = None
        try:
            self._conf.reload_config_files()
            settings = read_settings(self._conf)
            triggers.check(settings.triggers)
            settings.host_cpus(previous.topology())
            self._presence.claim(settings)
            self._configure(settings)
        except exceptions.KongMingError as error:
            wrong = error
        if wrong is not None:  # said here, because oslo.log adds an error that is being handled to the message
            LOG.error("the configuration stays as it was: %s", wrong)
            return
        previous.close()
        LOG.info("read the configuration again")

    def _reconcile(self) -> float:
        """Run a pass, and answer every hook that asks; gives the seconds until the next one."""
        questions = self._presence.take()
        try:
            return self._run_pass(questions)
        finally:
            for question in questions:
                question.answer(None)

    def _run_pass(self, questions: Sequence[Question]) -> float:
        self._telemetry.begin()
        try:
            cpus = self._host_cpus()
            self._telemetry.liveness.see()
            if self._reconciler is None:
                self._reconciler = self._make_reconciler()
            outcome = self._reconciler.run(cpus, [question.xml for question in questions])
            for number, answer in outcome.answers.items():
                questions[number].answer(answer.pins)
            self._started = True
            interval = self._after_pass()
        except exceptions.ConfigurationError as error:
            if not self._started:
                raise
            problem = Problem(Reason.CONFIGURATION, Subject(SubjectKind.CONFIGURATION), str(error))
        except exceptions.HypervisorError as error:
            problem = Problem(Reason.LIBVIRT, Subject(SubjectKind.LIBVIRT), str(error))
        except exceptions.InvalidTopology as error:
            problem = Problem(Reason.HOST, Subject(SubjectKind.HOST), str(error))
        except Exception:  # the outermost loop: the next pass may find what this one stumbled over
            LOG.exception("a reconcile pass failed; trying again")
            problem = Problem(Reason.AGENT, Subject(SubjectKind.AGENT), "a reconcile pass failed")
        else:
            outcome = self._report(outcome)
            self._give_sign(outcome)
            self._follow_memory(outcome)
            soon = interval if outcome.is_placement_well else _RETRY_SECONDS
            return min(interval, soon, outcome.retry_seconds or soon)
        self._telemetry.fail(problem)
        self._log.report_problems((problem, *self._presence.problems))
        return min(_RETRY_SECONDS, self._settings.interval_seconds)

    def _carry_out_next(self) -> None:
        """Carry out one of the orders that wait; the next one has to wait for a pass, which answers the hooks first."""
        question = self._presence.take_order()
        if question is not None:
            question.answer(answer_order(question.xml, self._carry_out).as_json())
            self._wake.set()

    def _follow_memory(self, outcome: Outcome) -> None:
        """Bring guests whose memory cannot be moved to where it is."""
        if self._reconciler is None or not outcome.pinning.memory_elsewhere:
            return
        try:
            access = self._access(self._reconciler, "its memory is bound there")
            mover = Mover(access, self._hypervisor, self._client)
            for line in self._follower.run(outcome.pinning.memory_elsewhere, mover):
                LOG.info("%s, where its memory is", line)
        except exceptions.KongMingError as error:
            LOG.warning("servers do not follow their memory: %s", error)
        except Exception:  # part of the outermost loop: the next pass may find what this one stumbled over
            LOG.exception("servers could not follow their memory; trying again")

    def _give_sign(self, outcome: Outcome) -> None:
        """Show in Placement that the agent lives, now and then."""
        if self._sign is None or not outcome.is_placement_well:
            return
        try:
            self._sign.renew()
        except exceptions.PlacementError as error:
            LOG.warning("the agent's sign of life is late: %s", error)

    def _access(self, reconciler: Reconciler, why: str) -> ReconcilerAccess:
        """What an order needs.

        :param why: the order, or what stands for one, for the history of changes
        """

        def reconcile(cpus: HostCpus) -> Outcome:
            self._telemetry.begin()
            return self._report(reconciler.run(cpus), why)

        def note_claim(server: Subject, before: str, after: str) -> None:
            self._changes.record_claim(server, before, after, why)

        return ReconcilerAccess(reconciler, self._host_cpus(), reconcile, note_claim)

    def _host_cpus(self) -> HostCpus:
        """The host's CPUs and huge pages as they are now."""
        cpus = self._settings.host_cpus(self._hypervisor.topology(), self._kernel.huge_pages())
        self._presence.pool = cpus.pools.dedicated
        return cpus

    def _carry_out(self, order: Order) -> OrderAnswer:
        if self._reconciler is None:
            return OrderAnswer(error="the agent has not seen this host yet; its log says what keeps it from that")
        try:
            return carry_out(order, self._access(self._reconciler, f"ordered: {order}"), self._hypervisor, self._client)
        except exceptions.KongMingError as error:
            return OrderAnswer(error=str(error))
        except Exception:  # part of the outermost loop: no order may end the agent
            LOG.exception("an order failed")
            return OrderAnswer(error="the agent failed; see its log")

    def _after_pass(self) -> float:
        """Hand on which servers run; gives how long to wait for the next pass if nothing happens, in seconds."""
        if self._event_sources is None:
            return float(self._settings.interval_seconds)
        self._event_sources.seen()
        return self._event_sources.interval_seconds

    def _report(self, outcome: Outcome, order: str = "") -> Outcome:
        """Log a pass and count it; gives its outcome, with what keeps event sources, hooks and commands from it.

        :param order: that it is a part of, for the history of changes
        """
        unheard = self._event_sources.problems if self._event_sources is not None else ()
        outcome = replace(outcome, problems=one_per_subject([*outcome.problems, *unheard, *self._presence.problems]))
        self._log.report(outcome)
        self._changes.record(outcome, order)
        self._telemetry.end(outcome)
        return outcome

    def _make_reconciler(self) -> Reconciler:
        name = self._settings.host or self._hypervisor.host_name()
        metadata = Metadata(self._settings.run_directory / METADATA_NAME)
        sources = EventSources(self._conf, self._settings, name, self._wake.set, self._events, metadata)
        sources.start()
        self._event_sources = sources
        self._sign = SignOfLife(self._client, name)
        edges = self._hypervisor, self._kernel, self._patience
        parts = assemble(self._settings, self._client, name, *edges, metadata, self._attendant.attend)
        return Reconciler(parts)

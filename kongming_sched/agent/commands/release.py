# SPDX-License-Identifier: Apache-2.0
"""kongming-host release and adopt: guests that an administrator takes over from the agent, and gives back."""

from __future__ import annotations

import argparse
from pathlib import Path

from cliff.command import Command

from kongming_sched import exceptions
from kongming_sched.agent.act import confine, interrupts
from kongming_sched.agent.act.confine import Confined, Confinement
from kongming_sched.agent.act.interrupts import Interrupts
from kongming_sched.agent.commands.common import Common, say
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.inspect.prompt import PromptHypervisor
from kongming_sched.agent.model.guest import RunningGuest, find_guests, identify_or_fault
from kongming_sched.agent.settings import read_files
from kongming_sched.agent.state import released
from kongming_sched.cpuset import CpuSet


class _OnServers(Common, Command):
    """A command for one server of this host, or all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take a server, or all."""
        parser = super().get_parser(prog_name)
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("server", nargs="?", metavar="SERVER", help="Id or name of a running server, or of its domain")
        who.add_argument("--all", action="store_true", help="All guests of this host, also those that start later")
        return parser

    def read_options(self, arguments: argparse.Namespace) -> None:
        """Read the options, and what runs here."""
        conf = read_files(arguments.config_file)
        self.directory = Path(conf.kongming_agent.run_directory)
        self.file = self.directory / released.FILE_NAME
        self.kernel = Host()
        self.hypervisor = PromptHypervisor(LibvirtHypervisor(conf.kongming_agent.libvirt_uri), self.kernel)
        self.servers = [RunningGuest(domain, identify_or_fault(domain)) for domain in self.hypervisor.domains()]

    def find(self, name: str) -> RunningGuest:
        """The one running server of a name.

        :raises GuestNotFound: if there is none, or more than one
        """
        found = find_guests(self.servers, name)
        if len(found) != 1:
            reason = f"is the name of {', '.join(map(str, found))}; say which" if found else "does not run here"
            raise exceptions.GuestNotFound(name, reason)
        return found[0]

    def load(self) -> released.Released:
        """The released guests, of those that still run."""
        running = [server.run for server in self.servers]
        return released.load_released(self.file).of(running)


class Release(_OnServers):
    """Let the agent leave a server alone, so that its pins can be set by hand.

    Nobody else gets the CPUs on which it is. This ends with 'adopt', and when the server is stopped, rebooted by Nova
    or migrated. With --all KongMing leaves the host: no template is offered any more, and guests that
    confine_unmanaged keeps off the pool get back what they had, as do interrupts that move_irqs has moved.

    Example::

      kongming-host release web-1
      kongming-host release --all
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write it down, for the agent's next pass."""
        self.read_options(parsed_args)
        before = self.load()
        if parsed_args.all:
            released.save_released(self.file, released.Released(before.starts, everyone=True))
            say("the agent leaves all servers alone from its next pass on, and they keep their pins")
            self._report(self._restore())
            for what in self._restore_interrupts():
                say(what)
            return
        server = self.find(parsed_args.server)
        released.save_released(self.file, before.plus(*server.run))
        say(f"the agent leaves {server} alone from its next pass on, until it is adopted or starts anew")

    def _restore_interrupts(self) -> list[str]:
        """Give interrupts back what they had before move_irqs moved them."""
        try:
            return Interrupts(self.directory / interrupts.FILE_NAME).run(CpuSet())
        except OSError as error:
            return [f"interrupts are not restored: {error}"]

    def _restore(self) -> Confined:
        """Give guests without a template back what they had; an agent that runs does the same."""
        confinement = Confinement(self.hypervisor, self.kernel, self.directory / confine.FILE_NAME)
        return confinement.run(self.servers, CpuSet(), self.hypervisor.topology().cpus, lambda _guest: False)

    def _report(self, confined: Confined) -> None:
        for server, what in confined.done:
            say(f"{server}: {what}")
        for server, reason in confined.problems:
            say(f"{server}: not restored: {reason}")


class Adopt(_OnServers):
    """Let the agent look after a server again that was released; it goes back to the pins of its template.

    Example::

      kongming-host adopt web-1
      kongming-host adopt --all
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write it down, for the agent's next pass."""
        self.read_options(parsed_args)
        before = self.load()
        if parsed_args.all:
            released.save_released(self.file, released.Released())
            say("the agent looks after all servers from its next pass on")
            return
        server = self.find(parsed_args.server)
        if before.everyone:
            raise exceptions.GuestNotFound(parsed_args.server, "is released with all others; use 'adopt --all'")
        if not before.covers(*server.run):
            say(f"{server} is not released")
            return
        released.save_released(self.file, before.minus(server.uuid))
        say(f"the agent looks after {server} from its next pass on")

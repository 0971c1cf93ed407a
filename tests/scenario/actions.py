# SPDX-License-Identifier: Apache-2.0
"""What can happen to a server: the rows of the table."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openstack import exceptions as sdk_exceptions

from tests.scenario.cloud import Cloud
from tests.scenario.machines import Kernel


@dataclass
class Subject:
    """A server that things happen to.

    :ivar other_flavor: of the same template, with other memory
    :ivar foreign_flavor: of another template, and plain_flavor of none; None where nothing is resized to them
    """

    cloud: Cloud
    server: str
    flavor: Any
    other_flavor: Any
    foreign_flavor: Any = None
    plain_flavor: Any = None

    @property
    def current_flavor(self) -> Any:
        """The one that it has, of the two of its template."""
        name = self.cloud.compute.get_server(self.server).flavor["original_name"]
        return self.other_flavor if name == self.other_flavor.name else self.flavor

    @property
    def host(self) -> str:
        """Where it runs."""
        return str(self.cloud.compute.get_server(self.server).compute_host)

    @property
    def guest(self) -> Kernel:
        """Its QEMU process."""
        guest = self.cloud.kernel_view(self.server, self.host)
        assert guest
        return guest

    def kill_guest(self) -> None:
        """Kill its QEMU process as the kernel kills what uses too much memory."""
        self.cloud.hosts.machine(self.host).kill(self.guest.pid)

    def wait(self, *states: str) -> None:
        """Wait for the server's state."""
        self.cloud.wait_for_status(self.server, *states)


@dataclass(frozen=True)
class Action:
    """Something that happens, after which the server runs as its template says.

    :ivar hosts: how many libvirt hosts it needs
    :ivar is_local: whether it needs the services to be on this machine
    """

    name: str
    do: Callable[[Subject], None]
    hosts: int = 1
    is_local: bool = False


def _stop_start(subject: Subject) -> None:
    subject.cloud.compute.stop_server(subject.server)
    subject.wait("SHUTOFF")
    subject.cloud.compute.start_server(subject.server)
    subject.wait("ACTIVE")


def _hard_reboot(subject: Subject) -> None:
    subject.cloud.compute.reboot_server(subject.server, "HARD")
    subject.wait("ACTIVE")


def _soft_reboot(subject: Subject) -> None:
    """On an emulated host nothing boots, the guest ignores the power button, and Nova goes on with a hard reboot."""
    before = subject.guest.pid
    boots = not subject.cloud.hosts.is_emulated(subject.host)
    if boots:
        subject.cloud.wait_until_booted(subject.server)
    subject.cloud.compute.reboot_server(subject.server, "SOFT")
    subject.wait("ACTIVE")
    assert before != subject.guest.pid, "Nova starts a new process"
    if subject.cloud.plan:
        assert boots == (subject.server in subject.cloud.stopwatch.ends)


def _pause(subject: Subject) -> None:
    subject.cloud.compute.pause_server(subject.server)
    subject.wait("PAUSED")
    subject.cloud.compute.unpause_server(subject.server)
    subject.wait("ACTIVE")


def _suspend(subject: Subject) -> None:
    subject.cloud.compute.suspend_server(subject.server)
    subject.wait("SUSPENDED")
    subject.cloud.compute.resume_server(subject.server)
    subject.wait("ACTIVE")


def _rebuild(subject: Subject) -> None:
    subject.cloud.compute.rebuild_server(subject.server, image=subject.cloud.image().id)
    subject.wait("ACTIVE")


def resize(subject: Subject, target: Any = None) -> None:
    """Resize a server to a flavor, or else to the other one of its template."""
    if target is None:
        target = subject.flavor if subject.current_flavor is subject.other_flavor else subject.other_flavor
    subject.cloud.compute.resize_server(subject.server, target.id)
    subject.wait("VERIFY_RESIZE")


def confirm(subject: Subject) -> None:
    """Confirm the resize of a server."""
    subject.cloud.compute.confirm_server_resize(subject.server)
    subject.wait("ACTIVE")


def revert(subject: Subject) -> None:
    """Revert the resize of a server."""
    subject.cloud.compute.revert_server_resize(subject.server)
    subject.wait("ACTIVE")


def _resize_confirm(subject: Subject) -> None:
    resize(subject)
    confirm(subject)


def _resize_revert(subject: Subject) -> None:
    resize(subject)
    revert(subject)


def _cold_migrate(subject: Subject) -> None:
    before = subject.host
    subject.cloud.compute.migrate_server(subject.server)
    subject.wait("VERIFY_RESIZE")
    subject.cloud.compute.confirm_server_resize(subject.server)
    subject.wait("ACTIVE")
    assert before != subject.host


def _live_migrate(subject: Subject) -> None:
    before = subject.host
    subject.cloud.compute.live_migrate_server(subject.server, block_migration="auto")
    subject.cloud.wait_for("the server is on the other host", lambda: subject.host != before)
    subject.wait("ACTIVE")


def _shelve(subject: Subject) -> None:
    subject.cloud.compute.shelve_server(subject.server)
    subject.wait("SHELVED_OFFLOADED")
    assert {} == subject.cloud.allocations(subject.server)
    subject.cloud.compute.unshelve_server(subject.server)
    subject.wait("ACTIVE")


def _kill_guest(subject: Subject) -> None:
    subject.kill_guest()
    subject.wait("SHUTOFF")
    subject.cloud.compute.start_server(subject.server)
    subject.wait("ACTIVE")


def _evacuate(subject: Subject) -> None:
    source = subject.host
    compute = subject.cloud.compute
    subject.cloud.services.kill(f"{source}-nova-compute")
    subject.cloud.services.kill(f"{source}-agent")
    subject.kill_guest()
    service = next(compute.services(host=source, binary="nova-compute"))
    compute.update_service_forced_down(service, forced=True)
    try:
        compute.evacuate_server(subject.server)
        subject.cloud.wait_for("the server is on the other host", lambda: subject.host != source)
        subject.wait("ACTIVE", "SHUTOFF")
        if compute.get_server(subject.server).status == "SHUTOFF":
            compute.start_server(subject.server)
        subject.wait("ACTIVE")
    finally:  # Nova takes the mark away only after the compute runs again, and tools/cloud waits until it is away
        restart = threading.Thread(target=subject.cloud.services.restart)
        restart.start()
        subject.cloud.wait_for("Nova takes the host back", lambda: _force_up(subject, service))
        restart.join()


def _force_up(subject: Subject, service: Any) -> bool:
    try:
        subject.cloud.compute.update_service_forced_down(service, forced=False)
    except sdk_exceptions.BadRequestException:
        return False
    return True


def _restart_libvirtd(subject: Subject) -> None:
    host = subject.host
    subject.cloud.services.kill(f"{host}-libvirtd")
    subject.cloud.services.restart()
    subject.cloud.hosts.connect(host)
    subject.cloud.wait_for("nova-compute is up", lambda: _compute_is_up(subject, host))


def _compute_is_up(subject: Subject, host: str) -> bool:
    """Whether it is; it connects to libvirt when it is asked something, and by itself only once in a minute."""
    with contextlib.suppress(sdk_exceptions.HttpException):
        subject.cloud.compute.get_server_diagnostics(subject.server)
    service = next(subject.cloud.compute.services(host=host, binary="nova-compute"))
    return bool(service.state == "up" and service.status == "enabled")


def _agent_killed_before(subject: Subject) -> None:
    subject.cloud.services.kill(f"{subject.host}-agent")
    subject.cloud.compute.reboot_server(subject.server, "HARD")
    subject.wait("ERROR")  # libvirt's hook starts no server of a template that nothing would pin
    subject.cloud.services.restart()
    subject.cloud.compute.reboot_server(subject.server, "HARD")
    # Its status is ERROR until it runs, which the library's own wait takes for the end.
    subject.cloud.wait_for(
        "the server runs again", lambda: subject.cloud.compute.get_server(subject.server).status == "ACTIVE"
    )


def _agent_killed_during(subject: Subject) -> None:
    agent = f"{subject.host}-agent"
    subject.cloud.stopwatch.reset(subject.server)
    subject.cloud.compute.reboot_server(subject.server, "HARD")
    subject.cloud.wait_for("the guest runs again", lambda: subject.server in subject.cloud.stopwatch.begins)
    subject.cloud.services.kill(agent)
    subject.wait("ACTIVE")
    subject.cloud.services.restart()


def _agent_killed_after(subject: Subject) -> None:
    before = subject.guest
    subject.cloud.services.kill(f"{subject.host}-agent")
    assert before == subject.guest
    subject.cloud.services.restart()


ACTIONS = (
    Action("stop and start", _stop_start),
    Action("hard reboot", _hard_reboot),
    Action("soft reboot", _soft_reboot),
    Action("pause and unpause", _pause),
    Action("suspend and resume", _suspend),
    Action("rebuild", _rebuild),
    Action("shelve and unshelve", _shelve),
    Action("guest killed behind Nova's back", _kill_guest, is_local=True),
    Action("resize and confirm", _resize_confirm, hosts=2),
    Action("resize and revert", _resize_revert, hosts=2),
    Action("cold migrate", _cold_migrate, hosts=2),
    Action("live migrate", _live_migrate, hosts=2),
    Action("agent killed before a reboot", _agent_killed_before, is_local=True),
    Action("agent killed during a reboot", _agent_killed_during, is_local=True),
    Action("agent killed afterwards", _agent_killed_after, is_local=True),
    Action("libvirtd killed and restarted", _restart_libvirtd, is_local=True),
    Action("evacuate", _evacuate, hosts=2, is_local=True),
)

# SPDX-License-Identifier: Apache-2.0
"""Options of the agent, and the options for Nova and Placement that it reads."""

from __future__ import annotations

from keystoneauth1 import loading
from oslo_config import cfg

from kongming_sched.conf import reporting

GROUP = cfg.OptGroup("kongming_agent", title="The agent on a compute node")
PLACEMENT = "placement"
NOVA = "kongming_nova"

OPTS = [
    cfg.StrOpt(
        "dedicated_cpu_set",
        default="",
        help="""
Host CPUs of the dedicated pool, each of which belongs to one server at a time.

Name whole cores: if a core's hardware thread is in the pool, its siblings must be too. The CPUs must lie outside Nova's
``[compute] cpu_shared_set``, and at least one CPU must be left for emulator threads. CPUs of templates with explicit
pins are taken from this pool.

Nova's ``[compute] cpu_dedicated_set`` must name either none of them, or exactly these. The latter is for hosts of
servers with huge pages or with visible NUMA nodes, to which no other servers of ``hw:cpu_policy=dedicated`` may come.

Example: ``4-31,^16,^17``.
""",
    ),
    cfg.StrOpt(
        "shared_cpu_set",
        default="",
        help="""
Host CPUs of the shared pool, over which the vCPUs of shared cells float.

The CPUs must lie outside ``dedicated_cpu_set`` and outside Nova's own sets.
""",
    ),
    cfg.StrOpt(
        "housekeeping_cpu_set",
        help="""
Host CPUs for emulator threads, I/O threads, and servers whose template cannot be honoured.

By default all online CPUs outside ``dedicated_cpu_set`` and outside Nova's ``[compute] cpu_dedicated_set``.
""",
    ),
    cfg.FloatOpt(
        "vcpu_allocation_ratio",
        default=4.0,
        min=0.1,
        max=1000.0,
        help="How many vCPUs of shared cells one host CPU of the shared pool takes.",
    ),
    cfg.IntOpt(
        "reserved_memory_mb",
        default=512,
        min=0,
        help="Memory of each NUMA node, in MiB, that servers of templates do not get.",
    ),
    cfg.StrOpt(
        "host",
        help="""
Name of this host's resource provider in Placement, which is what ``openstack hypervisor list`` shows.

By default the name that libvirt gives, which is the one that nova-compute uses.
""",
    ),
    cfg.StrOpt(
        "libvirt_uri", default="qemu:///system", help="Where to reach libvirt, as in ``[libvirt]`` of nova.conf."
    ),
    cfg.IntOpt(
        "interval_seconds",
        default=30,
        min=1,
        max=3600,
        help="""
How long the agent waits for an event before it makes a pass over its host anyway, in seconds, if ``timer`` is among
``triggers``.

Changed templates and drifted pins are found after this time at the latest.
""",
    ),
    cfg.ListOpt(
        "triggers",
        default=["libvirt", "timer"],
        help="""
What makes the agent start a pass over its host.

``libvirt`` gets an event of each server that starts, stops, or is tuned. ``timer`` starts a pass every
``interval_seconds``. ``notifications`` listens to Nova's versioned notifications (``[notifications]
notification_format`` of nova.conf must be ``versioned`` or ``both``). ``legacy_notifications`` listens to the legacy
ones, after which the agent asks Nova's API, for which ``[kongming_nova]`` must be set. Both need oslo.messaging (``pip
install kongming-sched[notifications]``) and take the transport from ``[oslo_messaging_notifications] transport_url``,
or else from ``[DEFAULT] transport_url``.

Notifications hold a server's own metadata only if ``[notifications] notify_on_state_change`` of nova.conf is set.
Otherwise the agent learns it from Nova's API every ``metadata_poll_interval``.

Others can be added as entry points of the group ``kongming_sched.agent.triggers``.
""",
    ),
    cfg.ListOpt(
        "versioned_topics",
        default=["versioned_notifications"],
        help="""
Topics of Nova's versioned notifications, as in ``[notifications] versioned_notifications_topics`` of nova.conf. One of
these is enough.

The agent reads from a queue of its own, ``kongming.<host>.<topic>``, and takes nothing away from other readers.
RabbitMQ deletes that queue when nobody has read it for a day, and keeps the newest 10,000 notifications or 32 MiB in
it. If there are no other readers, let the broker expire what stays in the topic's own queue.
""",
    ),
    cfg.ListOpt(
        "legacy_topics",
        default=["notifications"],
        help="Topics of Nova's legacy notifications: those in ``[oslo_messaging_notifications] topics`` of nova.conf.",
    ),
    cfg.IntOpt(
        "metadata_poll_interval",
        default=300,
        min=0,
        max=86400,
        help="""
How often to ask Nova for the metadata of this host's servers, in seconds; 0 to ask only for servers that are new on
this host or that a notification names.

Without ``[kongming_nova]`` the API is never asked.
""",
    ),
    cfg.StrOpt(
        "run_directory",
        default="/run/kongming",
        help="""
The directory for state that survives a restart of the agent but not one of the machine, and for the socket on which
libvirt's hook asks for the CPUs of guests that migrate to this host. Only the agent's user may enter it.

After a change run ``kongming-host hook install`` again.
""",
    ),
    cfg.BoolOpt(
        "refuse_starts_without_agent",
        default=True,
        help="""
Whether libvirt's hook, where it is installed, refuses to start a server of a template while no agent works on its host.

Such a server would not be pinned, and would run on dedicated CPUs of other servers. Nova takes another host for a new
server, and leaves one that migrates where it is. A hard reboot, a start or a resume on this host fails until the agent
is back. The hook waits 15 seconds for an agent that is being restarted.

A server that Nova pins to CPUs of dedicated_cpu_set itself is refused, whatever this says, if an agent works and cannot
clear these CPUs of other servers.

After a change run ``kongming-host hook install`` again.
""",
    ),
    cfg.BoolOpt(
        "confine_unmanaged",
        default=False,
        help="""
Whether guests without a template are kept off ``dedicated_cpu_set``.

While they run, all their threads are pinned to the CPUs that they may use, except those of the pool. When this option
is turned off, or after ``kongming-host release --all``, they get back what they had. Without it such guests may run on
dedicated CPUs of other servers, unless Nova's ``[compute] cpu_shared_set`` keeps them away, which is the better way.
""",
    ),
    cfg.BoolOpt(
        "move_irqs",
        default=False,
        help="""
Whether interrupts are kept off the CPUs of real-time servers.

These are the dedicated CPUs of vCPUs that Nova runs by a real-time policy (``hw:cpu_realtime``). Interrupts that may
be served there are given the rest of their CPUs, as far as the kernel lets them be moved, and get back what they had
when the server goes, when this option is turned off, and after ``kongming-host release``. irqbalance would undo it:
set its ``IRQBALANCE_BANNED_CPULIST`` to ``dedicated_cpu_set``, as ``kongming-agent --check`` says. The agent's unit
keeps it from changing anything of the kernel, so that it needs ``ProtectKernelTunables=no`` in a drop-in.
""",
    ),
    *reporting.OPTS,
    cfg.StrOpt(
        "lock_name",
        default="kongming-agent",
        advanced=True,
        help="""
The name under which only one agent runs on a host, whatever its ``run_directory``. It is the name of an abstract Unix
socket.

Change it only where one machine stands for several hosts, as in a test.
""",
    ),
]

NOVA_COMPUTE_OPTS = [
    cfg.StrOpt("cpu_shared_set", help="Nova's option of this name; read so that no CPU is given away twice."),
    cfg.StrOpt("cpu_dedicated_set", help="Nova's option of this name; read so that no CPU is given away twice."),
]

NOVA_DEFAULT_OPTS = [
    cfg.MultiStrOpt(
        "reserved_huge_pages",
        default=[],
        help="Nova's option of this name; read so that servers of templates do not get these pages either.",
    ),
]


CLI_OPTS = [
    cfg.BoolOpt(
        "check",
        default=False,
        help="Report what is right and wrong on this host, change nothing, and exit: with 0 if the agent can work here,"
        " else with 1.",
    ),
    cfg.BoolOpt(
        "brief",
        default=False,
        help="With --check: print only warnings and errors, and a summary, with priorities for systemd's journal.",
    ),
    cfg.BoolOpt(
        "nova-conf",
        default=False,
        help="Print the lines that nova.conf of this host needs for servers with huge pages or visible NUMA nodes, for"
        " a further file that nova-compute reads last, and exit. Name the files that it reads before.",
    ),
]
"""Options of the command line alone."""


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register all options that the agent reads."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)
    conf.register_opts(NOVA_COMPUTE_OPTS, group="compute")
    conf.register_opts(NOVA_DEFAULT_OPTS)
    for group, service_type in ((PLACEMENT, "placement"), (NOVA, "compute")):
        loading.register_auth_conf_options(conf, group)
        loading.register_session_conf_options(conf, group)
        # As Nova does: its files may hold the deprecated interface, which keystoneauth refuses beside valid_interfaces.
        loading.register_adapter_conf_options(conf, group, include_deprecated=False)
        conf.set_default("valid_interfaces", ["internal", "public"], group=group)
        conf.set_default("service_type", service_type, group=group)


_TIMEOUT = """
How long a request may take as a whole, with what keystoneauth asks of Keystone for it, in seconds; 60 where it is not
set. After that it is given up and tried again later, and what was known last holds. Requests that follow one another
may not take longer together, either. Keep it below ``WatchdogSec`` of the agent's unit, which is 180 seconds.
"""


def _session_opts() -> list[cfg.Opt]:
    """keystoneauth's options of a session, with what the limit means to KongMing."""
    return [
        cfg.FloatOpt("timeout", help=_TIMEOUT, sample_default=60) if opt.name == "timeout" else opt
        for opt in loading.get_session_conf_options()
    ]


def list_opts() -> list[tuple[str | cfg.OptGroup, list[cfg.Opt]]]:
    """The options of the sample configuration file."""
    service = _session_opts() + loading.get_auth_common_conf_options()
    service += loading.get_auth_plugin_conf_options("password")
    service += loading.get_adapter_conf_options(include_deprecated=False)
    return [(GROUP, OPTS), (PLACEMENT, service), (NOVA, service)]

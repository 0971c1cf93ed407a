# SPDX-License-Identifier: Apache-2.0
"""Options of the agent, and those of Nova and Placement that it reads."""

from __future__ import annotations

from keystoneauth1 import loading
from oslo_config import cfg

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
``[compute] cpu_shared_set`` and ``[compute] cpu_dedicated_set``, and at least one CPU must be left for emulator
threads. CPUs of templates with explicit pins are taken from this pool.

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
How often to look although no event came, in seconds, if ``timer`` is among ``triggers``.

Changed templates and pins that went astray are found at the latest after this time.
""",
    ),
    cfg.ListOpt(
        "triggers",
        default=["libvirt", "timer"],
        help="""
What makes the agent look at its host.

``libvirt`` is told of each server that starts, stops, or is tuned. ``timer`` looks every ``interval_seconds``.
``notifications`` hears Nova's versioned notifications (``[notifications] notification_format`` of nova.conf must be
``versioned`` or ``both``), and ``legacy_notifications`` the old ones, after which Nova's API is asked, so that
``[kongming_nova]`` must say how. Both need oslo.messaging (``pip install kongming-sched[notifications]``) and take the
transport from ``[oslo_messaging_notifications] transport_url``, or else from ``[DEFAULT] transport_url``.

A server's own metadata is learnt from notifications only if ``[notifications] notify_on_state_change`` of nova.conf is
set, or else by asking Nova's API every ``metadata_poll_interval``.

Others can be added as entry points of the group ``kongming_sched.agent.triggers``.
""",
    ),
    cfg.ListOpt(
        "versioned_topics",
        default=["versioned_notifications"],
        help="""
Topics of Nova's versioned notifications, of which one is enough: those in ``[notifications]
versioned_notifications_topics`` of nova.conf.

The agent reads from a queue of its own, ``kongming-<host>-<topic>``, and takes nothing away from other readers. If
nobody else reads, let the broker expire what stays in the topic's own queue, and the queues of hosts that are gone.
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
How often to ask Nova for the metadata of this host's servers, in seconds; 0 to ask only for servers that came here or
of which something was heard.

Only where ``[kongming_nova]`` says how to reach Nova; without that the API is never asked.
""",
    ),
    cfg.StrOpt(
        "run_directory",
        default="/run/kongming",
        help="""
Where the agent keeps what shall outlive itself but not the machine, and the socket on which libvirt's hook asks for the
CPUs of guests that migrate to this host. Only the agent's user may enter it.

After a change run ``kongming-host hook install`` again.
""",
    ),
    cfg.BoolOpt(
        "confine_unmanaged",
        default=False,
        help="""
Whether guests without a template are kept off ``dedicated_cpu_set``.

All their threads are pinned, while they run, to the CPUs that they have but those of the pool. When this goes off, or
after ``kongming-host release --all``, they get back what they had. Without it such guests may run on the CPUs of
servers that have these to themselves, unless Nova's ``[compute] cpu_shared_set`` keeps them away, which is
the better way.
""",
    ),
    cfg.StrOpt(
        "metrics_address",
        default="127.0.0.1",
        help="""
The address at which Prometheus may fetch the agent's metrics.

They tell the names of servers, and nobody is asked for a password: let a proxy with TLS stand before any other address.
""",
    ),
    cfg.PortOpt(
        "metrics_port",
        default=19119,
        help="The port of the metrics; 0 for none.",
    ),
]

NOVA_COMPUTE_OPTS = [
    cfg.StrOpt("cpu_shared_set", help="Nova's option of this name; read so that no CPU is given away twice."),
    cfg.StrOpt("cpu_dedicated_set", help="Nova's option of this name; read so that no CPU is given away twice."),
]


CLI_OPTS = [
    cfg.BoolOpt(
        "check",
        default=False,
        help="Say in plain words what is right and wrong on this host, change nothing, and end: with 0 if the agent can"
        " work here, else with 1.",
    ),
    cfg.BoolOpt(
        "brief",
        default=False,
        help="With --check: only what is not well, and a line for the whole, with priorities for systemd's journal.",
    ),
]
"""What the command line alone has."""


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register everything that the agent reads."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)
    conf.register_opts(NOVA_COMPUTE_OPTS, group="compute")
    for group, service_type in ((PLACEMENT, "placement"), (NOVA, "compute")):
        loading.register_auth_conf_options(conf, group)
        loading.register_session_conf_options(conf, group)
        # As Nova does: its files may hold the deprecated interface, which keystoneauth refuses beside valid_interfaces.
        loading.register_adapter_conf_options(conf, group, include_deprecated=False)
        conf.set_default("valid_interfaces", ["internal", "public"], group=group)
        conf.set_default("service_type", service_type, group=group)


def list_opts() -> list[tuple[str | cfg.OptGroup, list[cfg.Opt]]]:
    """What the sample configuration file shows."""
    service = loading.get_session_conf_options() + loading.get_auth_common_conf_options()
    service += loading.get_auth_plugin_conf_options("password")
    service += loading.get_adapter_conf_options(include_deprecated=False)
    return [(GROUP, OPTS), (PLACEMENT, service), (NOVA, service)]

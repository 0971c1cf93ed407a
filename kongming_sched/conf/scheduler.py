# SPDX-License-Identifier: Apache-2.0
"""Options of the filters and weighers, which nova-scheduler reads from nova.conf."""

from __future__ import annotations

from oslo_config import cfg

GROUP = cfg.OptGroup("kongming_scheduler", title="The filters and weighers in nova-scheduler")

OPTS = [
    cfg.StrOpt(
        "numa_strategy",
        default="pack",
        choices=[
            ("pack", "The fullest node that fits, so that whole nodes stay free for large servers."),
            ("spread", "The emptiest node, so that servers share caches and memory bandwidth with few others."),
            ("scatter", "A random node, and by the packing weigher a random host: for many servers at once."),
        ],
        help="""
Which NUMA node of a host a server takes when several fit.

A worker of nova-scheduler takes account of what its other requests are about to claim, so servers that come in bursts
need no other strategy. ``scatter`` keeps even many workers from choosing the same node, and leaves nodes half full.
What looks random depends on the id of the server alone.

A flavor overrides this with the extra spec ``kongming:numa_strategy``. It applies to servers of templates only, and
``KongmingNumaFilter`` must be among ``[filter_scheduler] enabled_filters``.
""",
    ),
    cfg.IntOpt(
        "snapshot_ttl_seconds",
        default=5,
        min=1,
        max=300,
        help="""
How old the snapshot of the use of all NUMA nodes may be before Placement is asked again, in seconds.

Each worker of nova-scheduler asks at most once in this time, in one request for the whole cloud, and only when a server
of a template is scheduled (or any server, where ``reserve_weight_multiplier`` is not 0). The snapshot orders hosts and
nodes and decides nothing else: whether a server fits, Placement decides alone. Raise it where that request is slow;
lower it if servers that are created one by one do not spread as they should.
""",
    ),
    cfg.FloatOpt(
        "packing_weight_multiplier",
        default=5.0,
        help="""
How strongly servers of templates go to the host whose NUMA node they fill best.

The default outweighs Nova's spreading by CPUs, RAM, disk and builds in progress together, each of which has a
multiplier of 1.0 and would otherwise keep many nodes half full. It outweighs soft affinity and anti-affinity too: raise
their multipliers above it if you use them. 0 turns it off and a negative number prefers empty nodes. Servers of the
strategy ``scatter`` are pulled as strongly to a random host. A host aggregate overrides it with the metadata key
``packing_weight_multiplier``.
""",
    ),
    cfg.FloatOpt(
        "reserve_weight_multiplier",
        default=0.0,
        help="""
How strongly servers without a template are kept away from hosts with free CPUs in a dedicated pool.

By default they are not: they are scheduled exactly as without KongMing. Set it to 1.0 or more if they use up memory or
disk that servers of templates then lack. A host aggregate overrides it with the metadata key
``reserve_weight_multiplier``.
""",
    ),
    cfg.FloatOpt(
        "template_affinity_weight_multiplier",
        default=0.0,
        help="""
How strongly servers of a template go to hosts where servers of the same template are.

A positive number packs the servers of a template on few hosts, a negative one spreads them. By default it makes no
difference which templates the servers of a host have. A host aggregate overrides it with the metadata key
``template_affinity_weight_multiplier``.

The servers of a host are those that Nova's scheduler knows. Their flavors are read from Nova's database, once for each
server and hour, and at most 500 for one request: after nova-scheduler has started in a cloud of many servers it takes
some requests until all of them count. A server that is resized on its host counts by its old flavor until it is read
again, unless its nova-compute reports changes (``[filter_scheduler] track_instance_changes``).
""",
    ),
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options; doing so twice does no harm."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, group=GROUP)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """The options of the sample configuration file."""
    return [(GROUP, OPTS)]

# SPDX-License-Identifier: Apache-2.0
"""The options of nova.conf that lead Nova to the NUMA nodes of servers that it lays out itself."""

from __future__ import annotations

from oslo_config import cfg

from kongming_sched.nova_numa.markers import node_of_marker

NEUTRON_OPTS = [cfg.ListOpt("physnets", default=[], help="Nova's option of this name.")]


def read_markers(conf: cfg.ConfigOpts) -> dict[str, tuple[int, ...]]:
    """The markers in nova.conf, physical networks that exist nowhere else, each with the NUMA nodes that it is near.

    What is no list of numbers is near no node; nova-compute does not start with it.

    :param conf: parsed already
    """
    conf.register_opts(NEUTRON_OPTS, group="neutron")
    nodes: dict[str, tuple[int, ...]] = {}
    for name in conf.neutron.physnets:
        if node_of_marker(name) is not None:
            group = f"neutron_physnet_{name}"
            conf.register_opt(cfg.ListOpt("numa_nodes", default=[], item_type=cfg.types.Integer()), group=group)
            try:
                nodes[name] = tuple(conf[group].numa_nodes)
            except ValueError:
                nodes[name] = ()
    return nodes

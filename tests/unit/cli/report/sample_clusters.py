# SPDX-License-Identifier: Apache-2.0
"""Clouds by name, as the page shows them."""

from __future__ import annotations

from kongming_sched.cli.report.cluster import Amount, Cluster, ClusterHost, ClusterNode, ClusterServer, ClusterTemplate

NASTY = "<script>document.title='hacked'</script>"
"""A server's name, which its user chose."""


def node(number: int, used: int, *templates: str, total: int = 16, disabled: bool = False) -> ClusterNode:
    """A node with dedicated CPUs and 64 GiB of memory, of which as many GiB are used as CPUs."""
    amounts = {"dedicated_cpus": Amount(used, total), "memory_mb": Amount(used << 10, 64 << 10)}
    return ClusterNode(number, amounts, templates, disabled)


def server(number: int, name: str, template: str = "gold") -> ClusterServer:
    """A server that has its flavor's template."""
    return ClusterServer(f"5e7e0000-0000-4000-8000-{number:012}", name, template, template, "ACTIVE")


def small_cloud() -> Cluster:
    """Four hosts: one with room, one that is full, one that is disabled, and one whose nodes differ."""
    shared = ClusterNode(1, {"shared_vcpus": Amount(3, 8), "memory_mb": Amount(1536, 2560)}, ("bronze",))
    hosts = (
        ClusterHost("alpha", (node(0, 4, "gold"), node(1, 0, "gold")), (server(1, "web"), server(2, NASTY))),
        ClusterHost("beta", (node(0, 16, "gold"), node(1, 16, "gold")), (server(3, "db", "silver"),)),
        ClusterHost("gamma", (node(0, 0, "gold"),), (), is_disabled=True),
        ClusterHost("delta", (node(0, 2, "gold", "silver", disabled=True), shared), (server(4, "cache", "bronze"),)),
    )
    templates = (
        ClusterTemplate("bronze", ("vCPUs 0-1: shared",), 1, 1, 2),
        ClusterTemplate("gold", ("vCPUs 0-1: dedicated, threads any", "vCPUs 2: shared"), 3, 2, 30),
    )
    return Cluster(hosts, templates, ("bare-1", "bare-2"), 5, (server(5, "lost", "silver"),), ("template broken",))

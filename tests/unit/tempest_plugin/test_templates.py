# SPDX-License-Identifier: Apache-2.0
"""Which templates are tried, and what must be said of a cloud that cannot have one."""

from __future__ import annotations

import pytest

from kongming_sched.exceptions import InvalidTemplate
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_tempest_plugin.templates import CELLS, make_template, obstacle, threads_per_core


def node(root: str, number: int, pcpus: int = 8, vcpus: int = 8, threads: int = 2) -> ProviderSummary:
    """A NUMA node of a host."""
    traits = frozenset({names.node_trait(number), names.smt_trait(threads)})
    capacity = {names.PCPU: pcpus, names.VCPU: vcpus}
    return ProviderSummary(f"{root}-{number}", root, root, traits, capacity, {})


LARGE = [node("a", 0), node("a", 1), node("b", 0), node("b", 1)]
SMALL = [node("a", 0, pcpus=1, vcpus=4, threads=1), node("b", 0, pcpus=1, vcpus=4, threads=1)]


@pytest.mark.parametrize("kind", CELLS)
def test_a_large_cloud_can_have_every_template(kind: str) -> None:
    """Hosts of two nodes with hardware threads."""
    template = make_template(kind, "tried", "6-7")
    assert template
    assert "" == obstacle(template, LARGE)


@pytest.mark.parametrize("kind", ["any", "prefer", "isolate", "shared", "explicit"])
def test_two_hosts_of_two_cpus_can_have_most(kind: str) -> None:
    """One CPU for the host, and one to give away."""
    template = make_template(kind, "tried", "1")
    assert template
    assert "" == obstacle(template, SMALL)


@pytest.mark.parametrize(
    ("kind", "nodes", "reason"),
    [
        ("require", SMALL, "one hardware thread per core"),
        ("two_cells", SMALL, "no host has more than 1 NUMA node"),
        ("any", [node("a", 0, pcpus=0)], "no NUMA node has 1 of CUSTOM_KONGMING_PCPU"),
        ("isolate", [node("a", 0, pcpus=1)], "no NUMA node has 2 of CUSTOM_KONGMING_PCPU"),
        ("shared", [node("a", 0, vcpus=0)], "no NUMA node has 1 of CUSTOM_KONGMING_VCPU"),
        ("any", [], "does kongming-agent run"),
    ],
)
def test_what_a_cloud_lacks_is_named(kind: str, nodes: list[ProviderSummary], reason: str) -> None:
    """So that a test that is skipped says why."""
    template = make_template(kind, "tried", "1")
    assert template
    assert reason in obstacle(template, nodes)


def test_explicit_cpus_must_be_told() -> None:
    """No API says which CPUs a host has."""
    assert None is make_template("explicit", "tried", "")


def test_explicit_cpus_must_be_cpus() -> None:
    """A mistake in tempest.conf is named as the template's."""
    with pytest.raises(InvalidTemplate, match="pins"):
        make_template("explicit", "tried", "six")


def test_hosts_without_a_dedicated_pool_say_nothing_of_threads() -> None:
    """One is what a core has at least."""
    silent = ProviderSummary("a-0", "a", "a", frozenset(), {}, {})
    assert (1, 2) == (threads_per_core([silent]), threads_per_core([silent, *LARGE]))

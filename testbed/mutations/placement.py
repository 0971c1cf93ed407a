# SPDX-License-Identifier: Apache-2.0
"""Mutations of what is written to Placement, and of what is read there."""

from __future__ import annotations

from testbed.mutations.mutation import Mutation

_TREE = "kongming_sched/placement/tree.py"
_NODES = "kongming_sched/placement/nodes.py"
_TEST_TREE = ("tests/unit/placement/test_tree.py",)
_TEST_NODES = ("tests/functional/test_nodes.py",)

PLACEMENT = (
    Mutation(
        "conflicts-are-not-retried",
        "kongming_sched/placement/conflict.py",
        "ATTEMPTS = 5\n",
        "ATTEMPTS = 1\n",
        "a write fails as soon as another client has written at the same time",
        ("tests/unit/placement/test_conflict.py",),
    ),
    Mutation(
        "all-409-are-conflicts",
        "kongming_sched/placement/transport.py",
        "elif code == _CONFLICT:",
        "elif response.status_code == 409:",
        "a name that is taken, or a node without room, is tried again and again",
        ("tests/functional/test_client.py",),
    ),
    Mutation(
        "held-cpus-are-offered",
        _TREE,
        "        self.taken = held\n",
        "        self.taken = CpuSet()\n",
        "CPUs of guests without a place are offered to others",
        _TEST_TREE,
    ),
    Mutation(
        "explicit-templates-overlap",
        _TREE,
        "if twice := cell.host_cpus & self.taken:",
        "if twice := CpuSet():",
        "two templates that name one host CPU are both offered",
        _TEST_TREE,
    ),
    Mutation(
        "explicit-cpus-are-taken-from-servers",
        _TREE,
        "        if left < (used := state.used(names.PCPU)):\n",
        "        if (used := 0) > left:\n",
        "a new explicit template takes CPUs that servers have claimed",
        _TEST_TREE,
    ),
    Mutation(
        "disabled-nodes-offer-templates",
        _TREE,
        "        if node.id in self.disabled:\n",
        "        if node.id in ():\n",
        "servers land on a node that the operator has disabled",
        _TEST_TREE,
    ),
    Mutation(
        "used-inventories-stay-open",
        _TREE,
        "inventories[name] = Inventory(state.inventories[name].total, state.inventories[name].total)",
        "inventories[name] = Inventory(state.inventories[name].total)",
        "a resource class that the node has no more, and that is still allocated, can be claimed",
        _TEST_TREE,
    ),
    Mutation(
        "memory-in-huge-pages-is-offered-twice",
        "kongming_sched/pools.py",
        "        return max(node.memory_mb - -(-in_huge_pages_kib // 1024), 0)\n",
        "        return max(node.memory_mb - 0 * in_huge_pages_kib, 0)\n",
        "servers get memory that lies in pools of huge pages",
        _TEST_TREE,
    ),
    Mutation(
        "pages-of-others-are-offered",
        "kongming_sched/placement/offers/memory.py",
        "            reserved = min(cpus.pools.reserved_of(node.id, pages.size_kib), total)\n",
        "            reserved = 0\n",
        "servers get huge pages that nova.conf keeps for others",
        _TEST_TREE,
    ),
    Mutation(
        "narrow-cores-count-beside-whole-ones",
        _TREE,
        "{node.id for node in self.nodes if any(map(takes_whole_cores, self.offered[node.id]))}",
        "set()",
        "more whole cores can be claimed than a node has, for its cores of fewer threads are counted too",
        _TEST_TREE,
    ),
    Mutation(
        "whole-cores-are-offered-over-servers",
        _TREE,
        "        if left < have and left < used:\n",
        "        if left < have and left < 0 * used:\n",
        "a template of whole cores takes threads off the count that servers have claimed",
        _TEST_TREE,
    ),
    Mutation(
        "trait-outlives-its-resources",
        _NODES,
        "        kept = state.traits & node.traits\n",
        "        kept = state.traits\n",
        "for a moment a node offers a template of which it has no resources",
        _TEST_NODES,
    ),
    Mutation(
        "allocations-are-remembered",
        _NODES,
        "return replace(seen, name=provider.name, allocations=allocations)",
        "return replace(seen, name=provider.name)",
        "the agent does not see that a claim came or went while the provider stayed as it is",
        _TEST_NODES,
    ),
    Mutation(
        "half-stored-templates-of-others-are-deleted",
        "kongming_sched/placement/templates.py",
        "if provider and (name in published or not self._client.traits(provider.uuid)):",
        "if provider:",
        "a failure to store several templates deletes one that another client has just stored",
        ("tests/functional/cli/test_template_many.py::test_what_another_client_has_stored_meanwhile_stays",),
    ),
    Mutation(
        "flavor-need-not-require-its-template",
        "kongming_sched/placement/flavor.py",
        "        if trait not in cell.required:\n",
        "        if not cell.required:\n",
        "servers land where their template is not offered",
        ("tests/unit/placement/test_flavor.py",),
    ),
    Mutation(
        "cells-share-a-node",
        "kongming_sched/placement/candidates.py",
        "    if len(set(providers)) < len(providers):\n        return _TOGETHER\n",
        "",
        "two cells of a server land on one NUMA node",
        ("tests/functional/test_filters.py::test_a_host_without_a_good_candidate_is_rejected_with_a_reason",),
    ),
    Mutation(
        "surplus-traits-are-ignored",
        "kongming_sched/placement/codec.py",
        "    if surplus:\n        raise",
        "    if surplus and missing:\n        raise",
        "a template with contradicting traits is read as one of its meanings",
        ("tests/unit/placement/test_codec.py",),
    ),
)

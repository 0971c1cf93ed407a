# SPDX-License-Identifier: Apache-2.0
"""Mutations of Nova's plug-ins and of what they share."""

from __future__ import annotations

from testbed.mutations.mutation import Mutation

_TEMPLATE_FILTER = "kongming_sched/filters/template.py"
_CLAIMS = "kongming_sched/scheduler/host_claims.py"
_NUMA_FIT = "kongming_sched/scheduler/numa_fit.py"
_UNDER_WAY = "kongming_sched/scheduler/under_way.py"
_TEST_BURSTS = "tests/functional/test_bursts.py"
_TEST_FILTERS = ("tests/functional/test_filters.py",)

SCHEDULER = (
    Mutation(
        "wrong-flavors-pass",
        _TEMPLATE_FILTER,
        "            return []\n",
        "            return filter_obj_list\n",
        "a server whose flavor lacks the groups of its template lands anywhere",
        _TEST_FILTERS,
    ),
    Mutation(
        "bad-candidates-are-kept",
        _TEMPLATE_FILTER,
        "                reason = found.reason\n",
        "                kept.append(candidate)\n",
        "Nova claims a candidate that does not honour the template",
        _TEST_FILTERS,
    ),
    Mutation(
        "numa-filter-drops-candidates",
        "kongming_sched/filters/numa.py",
        " for candidate in ordered] + others",
        " for candidate in ordered]",
        "the filter that orders candidates drops some",
        ("tests/functional/test_filters.py::test_the_filter_that_orders_candidates_drops_none",),
    ),
    Mutation(
        "own-servers-do-not-count",
        _CLAIMS,
        "self._claimed = self.total(host_state, request)",
        "self._claimed = dict(self._claimed)",
        "servers of one request are all sent to the same node",
        _TEST_FILTERS,
    ),
    Mutation(
        "own-servers-count-twice",
        _CLAIMS,
        "        if self._free is None:\n",
        "        if view is not None or self._free is None:\n",
        "a view that counts servers of the request is taken together with their claims",
        _TEST_FILTERS,
    ),
    Mutation(
        "shortage-does-not-count",
        "kongming_sched/scheduler/ordering.py",
        "        ranked.append((shortage, sign * left, candidate.nodes, candidate.position, candidate))\n",
        "        ranked.append((0.0 * shortage, sign * left, candidate.nodes, candidate.position, candidate))\n",
        "a node on which nothing is left comes before one that has room",
        ("tests/unit/scheduler/test_ordering.py",),
    ),
    Mutation(
        "spread-packs",
        "kongming_sched/scheduler/ordering.py",
        "sign = -1 if strategy is NumaStrategy.SPREAD else 1",
        "sign = 1",
        "the strategy spread fills nodes",
        ("tests/unit/scheduler/test_ordering.py",),
    ),
    Mutation(
        "packing-scatters",
        "kongming_sched/weighers/packing.py",
        "            -(full if amount is not None",
        "            (full if amount is not None",
        "servers go to the emptiest host",
        ("tests/functional/test_weighers.py",),
    ),
    Mutation(
        "claims-of-other-requests-do-not-count",
        "kongming_sched/filters/numa.py",
        "claims.use(view, others.of(claims.root_uuid))",
        "claims.use(view)",
        "servers that come at once are all sent to the same node of their host",
        (f"{_TEST_BURSTS}::test_requests_of_one_worker",),
    ),
    Mutation(
        "waiting-requests-are-forgotten",
        _UNDER_WAY,
        "LONGEST_REQUEST_SECONDS = 600.0",
        "LONGEST_REQUEST_SECONDS = LIFETIME_SECONDS",
        "while Placement is busy, servers choose nodes that others are about to fill",
        (f"{_TEST_BURSTS}::test_a_request_that_takes_very_long",),
    ),
    Mutation(
        "claims-meet-on-one-host",
        _UNDER_WAY,
        "(drawn + self._about_to_claim[root_uuid])",
        "drawn",
        "claims of servers that come at once change each other's generation",
        (f"{_TEST_BURSTS}::test_a_claim_that_is_under_way",),
    ),
    Mutation(
        "workers-prefer-the-same-hosts",
        "kongming_sched/scheduler/scheduler_worker.py",
        "(share - self.number) % self.workers",
        "share % self.workers",
        "all workers of a controller fill the same hosts",
        ("tests/unit/scheduler/test_scheduler_worker.py",),
    ),
    Mutation(
        "limits-of-all-passes",
        "kongming_sched/scheduler/pass_state.py",
        "    own.limits = dict(host_state.limits)\n",
        "    own.limits = host_state.limits\n",
        "every server of a multi-create is led to the nodes of the last one",
        ("tests/unit/scheduler/test_pass_state.py",),
    ),
    Mutation(
        "unmarked-hosts-pass",
        _NUMA_FIT,
        "        if wrong := _wrong_markers(host.cells, ids):\n            return wrong\n",
        "",
        "Nova takes any node of a host whose nodes are not marked",
        ("tests/unit/scheduler/test_numa_fit.py",),
    ),
    Mutation(
        "networks-of-other-nodes-unseen",
        _NUMA_FIT,
        "self._physnets & each.physnets or (self._is_tunneled and each.tunneled)",
        "False",
        "a node is chosen that Nova refuses, for the server's network is near another one",
        ("tests/unit/scheduler/test_numa_fit.py",),
    ),
    Mutation(
        "nodes-in-another-order",
        _NUMA_FIT,
        "            if tried[key] == [*nodes] and",
        "            if tried[key] is not None and",
        "a cell is claimed on one node and laid out on another",
        ("tests/unit/scheduler/test_numa_fit.py",),
    ),
    Mutation(
        "nodes-that-nova-does-not-sort",
        _NUMA_FIT,
        "[*cells, _nothing()]",
        "cells",
        "a server is sent to nodes that Nova takes in another order",
        ("tests/unit/scheduler/test_numa_fit.py",),
    ),
    Mutation(
        "devices-of-other-nodes",
        "kongming_sched/nova_numa/keys.py",
        "return DEVICES_KEY in extra_specs and extra_specs.get(PCI_POLICY_KEY, _REQUIRED) != _REQUIRED",
        "return False",
        "a flavor of local devices lets Nova take devices of other nodes, and the log names another key",
        ("tests/unit/nova_numa/test_keys.py",),
    ),
    Mutation(
        "topology-of-an-image",
        "kongming_sched/scheduler/nova_request.py",
        "if difference := _difference(topology, request, request.nova_numa) or",
        "if difference := None or",
        "Nova lays a server out as its image says, and not as its flavor has claimed",
        ("tests/unit/scheduler/test_nova_request.py",),
    ),
    Mutation(
        "image-names-other-real-time-vcpus",
        "kongming_sched/scheduler/nova_request.py",
        "return None if found == numa.realtime else",
        "return None if found else",
        "an image's mask makes other vCPUs real-time ones than the template says",
        ("tests/unit/scheduler/test_nova_request.py",),
    ),
)

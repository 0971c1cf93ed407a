# SPDX-License-Identifier: Apache-2.0
"""How much memory a worker of nova-scheduler needs for its snapshot of the cloud's NUMA nodes.

An answer of Placement's shape is read by the real client and kept by the real snapshot: hosts of two nodes whose
compute nodes have what nova-compute registers. Python's own count of its allocations tells what stays and what was
needed meanwhile.
"""

from __future__ import annotations

import json
import tracemalloc
import uuid
from typing import Any

from benchmarks import report
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.snapshot import NodeSnapshot
from tests.functional.adapters import Answer, Canned

TRAITS_OF_HOST = 60
"""How many traits nova-compute sets on a provider; most of them tell features of the CPU."""


def answer(hosts: int) -> str:
    """What Placement answers to the snapshot's question."""
    summaries: dict[str, Any] = {}
    requests = []
    for index in range(hosts):
        root = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"c{index}"))
        summaries[root] = {
            "resources": {name: {"capacity": 128, "used": 64} for name in ("VCPU", "MEMORY_MB", "DISK_GB")},
            "traits": [f"HW_CPU_X86_FEATURE_{number}" for number in range(TRAITS_OF_HOST)],
            "parent_provider_uuid": None,
            "root_provider_uuid": root,
        }
        for number in range(2):
            node = names.node_uuid(root, number)
            classes = (names.PCPU, names.VCPU, names.MEMORY_MB, names.NODE)
            summaries[node] = {
                "resources": {name: {"capacity": 1000 + index, "used": index % 1000} for name in classes},
                "traits": ["HW_NUMA_ROOT", names.node_trait(number), names.smt_trait(2), names.template_trait("gold")],
                "parent_provider_uuid": root,
                "root_provider_uuid": root,
            }
            requests.append({"allocations": {node: {"resources": {names.NODE: 1}}}, "mappings": {"": [node]}})
    return json.dumps({"provider_summaries": summaries, "allocation_requests": requests})


def measure(hosts: int) -> dict[str, float]:
    """MiB that stay and MiB that are needed while an answer is read."""
    text = answer(hosts)
    snapshot = NodeSnapshot(lambda: PlacementClient(Canned(Answer(200, text))), lambda: 300.0)
    tracemalloc.start()
    view = snapshot.get()
    snapshot.wait(60)
    stays, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if view is None or len(view.free) != hosts:
        raise SystemExit("the snapshot does not hold all hosts")
    return {"hosts": hosts, "answer_mib": len(text) / 2**20, "stays_mib": stays / 2**20, "peak_mib": peak / 2**20}


def main() -> None:
    """Measure, print, and keep."""
    args = report.parser(__doc__).parse_args()
    rows = [measure(hosts) for hosts in (100, 1000, 5000)]
    report.table(
        "Memory of the snapshot, MiB",
        ("hosts", "Placement's answer", "stays", "at most while it is read"),
        [list(row.values()) for row in rows],
    )
    if args.write:
        report.keep("snapshot_memory", {"rows": rows})


if __name__ == "__main__":
    main()

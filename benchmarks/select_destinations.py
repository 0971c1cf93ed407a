# SPDX-License-Identifier: Apache-2.0
"""A whole ``select_destinations`` of Nova's scheduler, with Nova's real database and a real Placement.

The same flavor with and without KongMing's filters and weighers, and a flavor of Nova's own dedicated CPUs with its
NUMATopologyFilter, in turns in one process on the same hosts: 2 nodes of 64 CPUs, half full, 8 vCPUs. CPU time is that
of the process, in which Placement runs too; other work on the machine does not disturb it much. Databases are SQLite
files, filled directly, because registering thousands of hosts through the services would take hours.
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keystoneauth1 import adapter, session, token_endpoint
from nova import context as nova_context
from nova import objects, test
from nova.db.api import api as api_db
from nova.db.api import models as api_models
from nova.db.main import api as main_db
from nova.db.main import models
from nova.scheduler.manager import SchedulerManager
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import fixtures as func_fixtures
from oslo_utils import timeutils
from placement import db_api as placement_db
from placement.db.sqlalchemy import models as placement_models

from benchmarks import nova_numa, report
from kongming_sched.placement import flavor, names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.scheduler import worker
from kongming_sched.scheduler.snapshot import NodeSnapshot
from kongming_sched.template import PinningTemplate
from testbed.adapters import Counting
from testbed.topologies import make_topology

NODES, CPUS, FREE, VCPUS, MEMORY_MB = 2, 64, 32, 8, 8192
NODE_MEMORY_MB = 131072
FILTERS = [
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
]
TEMPLATE = PinningTemplate.from_mapping({"name": "gold", "cells": [{"vcpus": f"0-{VCPUS - 1}", "cpus": "dedicated"}]})
VARIANTS = {
    "KongMing": (["KongmingTemplateFilter", "KongmingNumaFilter"], True),
    "same flavor, without": ([], False),
    "Nova's dedicated": (["NUMATopologyFilter"], False),
}
OWNER = "0b5e0000-0000-4000-8000-000000000001"


class World(test.TestCase):
    """Nova's scheduler, its database and Placement, with so many hosts."""

    REQUIRES_LOCKING = True
    hosts = 0
    rounds = 0
    rows: list[dict[str, Any]] = []  # noqa: RUF012  # what the one test of this class hands out

    def setUp(self) -> None:
        """Nova's own fixtures, in the configuration that KongMing's README asks for."""
        self.flags(api_paste_config=str(Path(sys.prefix, "etc/nova/api-paste.ini")), group="wsgi")
        super().setUp()
        self.flags(service_down_time=1_000_000)
        self.flags(
            available_filters=["nova.scheduler.filters.all_filters", "kongming_sched.filters.all_filters"],
            group="filter_scheduler",
        )
        self.placement_fixture = self.useFixture(func_fixtures.PlacementFixture())
        self.placement_fixture.conf_fixture.config(
            allocation_candidates_generation_strategy="breadth-first", group="placement"
        )
        self.useFixture(nova_fixtures.NotificationFixture(self))
        auth = token_endpoint.Token(self.placement_fixture.endpoint, self.placement_fixture.token)
        self.counting = Counting(adapter.Adapter(session.Session(auth), "placement"))
        self.admin = nova_context.get_admin_context()

    def test_rounds(self) -> None:
        """Fill, warm up, and measure in turns."""
        roots = [str(uuid.uuid5(uuid.NAMESPACE_DNS, f"c{index}")) for index in range(self.hosts)]
        fill_placement(PlacementClient(self.counting), roots)
        self._fill_nova(roots)
        managers = {name: self._make_manager(*variant) for name, variant in VARIANTS.items()}
        worker.SNAPSHOT = NodeSnapshot(lambda: PlacementClient(self.counting), lambda: 1e9)
        started_at = time.perf_counter()
        worker.SNAPSHOT.get()
        worker.SNAPSHOT.wait(600)
        snapshot_seconds = time.perf_counter() - started_at
        self.counting.requests.clear()
        walls: dict[str, list[float]] = {name: [] for name in VARIANTS}
        cpus: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for count in range(self.rounds + 1):
            for name, manager in managers.items():
                wall, cpu = self._select(manager, name)
                if count:  # the first round warms up
                    walls[name].append(wall)
                    cpus[name].append(cpu)
        self.rows.append(
            {
                "hosts": self.hosts,
                "seconds": {name: statistics.median(values) for name, values in walls.items()},
                "cpu_seconds": {name: statistics.median(values) for name, values in cpus.items()},
                "requests_added": len(self.counting.requests),
                "snapshot_seconds": snapshot_seconds,
            }
        )

    def _make_manager(self, filters: Sequence[str], with_weighers: bool) -> SchedulerManager:
        more = ["kongming_sched.weighers.all_weighers"] if with_weighers else []
        self.flags(
            enabled_filters=[*FILTERS, *filters],
            track_instance_changes=False,  # else a thread would empty what is set below
            weight_classes=["nova.scheduler.weights.all_weighers", *more],
            group="filter_scheduler",
        )
        manager = SchedulerManager()
        # As nova-compute keeps it up to date: no server of Nova's is on any host.
        manager.host_manager._instance_info = {
            f"c{index}": {"instances": {}, "updated": True} for index in range(self.hosts)
        }
        return manager

    def _select(self, manager: SchedulerManager, name: str) -> tuple[float, float]:
        """Seconds, and CPU seconds of the whole process, for one server, whose claim is given back."""
        server = str(uuid.uuid4())
        spec = self._make_spec(server, novas_own=name == "Nova's dedicated")
        started_at, cpu_before = time.perf_counter(), time.process_time()
        (selected,) = manager.select_destinations(
            self.admin, spec_obj=spec, instance_uuids=[server], return_objects=True, return_alternates=True
        )
        wall, cpu = time.perf_counter() - started_at, time.process_time() - cpu_before
        assert selected
        manager.placement_client.delete_allocation_for_instance(self.admin, server, force=True)
        return wall, cpu

    def _make_spec(self, server: str, novas_own: bool) -> objects.RequestSpec:
        specs = (
            {"hw:cpu_policy": "dedicated"}
            if novas_own
            else flavor.extra_specs(TEMPLATE, {}, vcpus=VCPUS, memory_mb=MEMORY_MB)
        )
        asked = objects.Flavor(
            id=1,
            flavorid="f",
            name="f",
            vcpus=VCPUS,
            memory_mb=MEMORY_MB,
            root_gb=1,
            ephemeral_gb=0,
            swap=0,
            disabled=False,
            is_public=True,
            rxtx_factor=1.0,
            projects=[],
            extra_specs=specs,
        )
        return objects.RequestSpec.from_components(
            self.admin,
            server,
            objects.ImageMeta(properties=objects.ImageMetaProps()),
            asked,
            nova_numa.server_topology([VCPUS], MEMORY_MB) if novas_own else None,
            objects.InstancePCIRequests(requests=[]),
            {},
            None,
            None,
            user_id="user",
            project_id="project",
        )

    def _fill_nova(self, roots: Sequence[str]) -> None:
        """Copies of one service and one compute node that Nova's objects have written."""
        mapping = self.cell_mappings["cell1"]
        topology = nova_numa.host_topology(make_topology(NODES, CPUS // 2, 2), [FREE] * NODES)
        with nova_context.target_cell(self.admin, mapping) as context:
            service = objects.Service(context, host="c0", binary="nova-compute", topic="compute", report_count=1)
            service.create()
            service.last_seen_up = timeutils.utcnow()
            service.save()
            node = objects.ComputeNode(
                context,
                uuid=roots[0],
                service_id=service.id,
                host="c0",
                hypervisor_hostname="c0",
                vcpus=NODES * CPUS,
                memory_mb=NODES * NODE_MEMORY_MB,
                local_gb=1000,
                vcpus_used=0,
                memory_mb_used=0,
                local_gb_used=0,
                free_ram_mb=NODES * NODE_MEMORY_MB,
                free_disk_gb=1000,
                hypervisor_type="QEMU",
                hypervisor_version=7000000,
                cpu_info="{}",
                running_vms=0,
                current_workload=0,
                cpu_allocation_ratio=1.0,
                ram_allocation_ratio=1.0,
                disk_allocation_ratio=1.0,
                numa_topology=topology._to_json(),
                metrics="[]",
                stats={"num_instances": "0"},
                mapped=1,
                supported_hv_specs=[],
                host_ip="127.0.0.1",
                pci_device_pools=objects.PciDevicePoolList(objects=[]),
            )
            node.create()
            engine = main_db.get_engine(context=context)
        numbers = range(1, len(roots))
        copy_rows(engine, models.Service.__table__, [{"host": f"c{i}", "uuid": str(uuid.uuid4())} for i in numbers])
        hosts = [{"host": f"c{i}", "hypervisor_hostname": f"c{i}", "uuid": roots[i]} for i in numbers]
        copy_rows(engine, models.ComputeNode.__table__, hosts)
        with api_db.get_engine().begin() as connection:
            rows = [{"host": f"c{i}", "cell_id": mapping.id} for i in range(len(roots))]
            connection.execute(api_models.HostMapping.__table__.insert(), rows)


def copy_rows(engine: Any, table: Any, changes: Iterable[Mapping[str, Any]]) -> None:
    """Copy the newest row of a table, changed in each copy."""
    with engine.begin() as connection:
        row = dict(connection.execute(table.select().order_by(table.c.id.desc())).mappings().first())
        del row["id"]
        if rows := [{**row, **change} for change in changes]:
            connection.execute(table.insert(), rows)


def fill_placement(client: PlacementClient, roots: Sequence[str]) -> None:
    """What nova-compute and the agent register for each host, and what makes its pools half full."""
    traits = {names.template_trait("gold"), names.smt_trait(2), *map(names.node_trait, range(NODES))}
    client.ensure_traits(traits)
    client.ensure_resource_classes([names.PCPU, names.MEMORY_MB, names.NODE])
    of_host = {"PCPU": NODES * CPUS, "VCPU": NODES * CPUS, "MEMORY_MB": NODES * NODE_MEMORY_MB, "DISK_GB": 1000}
    of_node = {names.PCPU: CPUS, names.MEMORY_MB: NODE_MEMORY_MB, names.NODE: 1}
    providers: list[dict[str, Any]] = []
    inventories: list[tuple[int, str, int]] = []
    marks: list[tuple[int, str]] = []
    used: list[tuple[int, str, int]] = []
    for index, root in enumerate(roots):
        root_id = 1 + index * (NODES + 1)
        providers.append(
            {"id": root_id, "uuid": root, "name": f"c{index}", "generation": 1, "root_provider_id": root_id}
            | {"parent_provider_id": None}
        )
        inventories += [(root_id, name, total) for name, total in of_host.items()]
        marks += [(root_id, "COMPUTE_NODE"), (root_id, "OWNER_NOVA")]
        used.append((root_id, "PCPU", NODES * (CPUS - FREE)))
        for node in range(NODES):
            node_id = root_id + 1 + node
            providers.append(
                {"id": node_id, "uuid": names.node_uuid(root, node), "name": names.node_name(f"c{index}", node)}
                | {"generation": 1, "root_provider_id": root_id, "parent_provider_id": root_id}
            )
            inventories += [(node_id, name, total) for name, total in of_node.items()]
            wanted = {"HW_NUMA_ROOT", names.template_trait("gold"), names.smt_trait(2), names.node_trait(node)}
            marks += [(node_id, trait) for trait in sorted(wanted)]
            used.append((node_id, names.PCPU, CPUS - FREE))
    write_placement(providers, inventories, marks, used)


def write_placement(
    providers: list[dict[str, Any]],
    inventories: list[tuple[int, str, int]],
    marks: list[tuple[int, str]],
    used: list[tuple[int, str, int]],
) -> None:
    """Rows of providers, inventories, traits of providers and allocations, all of one consumer."""
    made = placement_models
    with placement_db.placement_context_manager.writer.get_engine().begin() as connection:
        classes = {row.name: row.id for row in connection.execute(made.ResourceClass.__table__.select())}
        traits = {row.name: row.id for row in connection.execute(made.Trait.__table__.select())}
        connection.execute(made.ResourceProvider.__table__.insert(), providers)
        whole = {"reserved": 0, "min_unit": 1, "step_size": 1, "allocation_ratio": 1.0}
        rows = [
            {"resource_provider_id": of, "resource_class_id": classes[name], "total": total, "max_unit": total} | whole
            for of, name, total in inventories
        ]
        connection.execute(made.Inventory.__table__.insert(), rows)
        pairs = [{"resource_provider_id": of, "trait_id": traits[name]} for of, name in marks]
        connection.execute(made.ResourceProviderTrait.__table__.insert(), pairs)
        connection.execute(made.Project.__table__.insert(), [{"id": 1, "external_id": "project"}])
        connection.execute(made.User.__table__.insert(), [{"id": 1, "external_id": "user"}])
        consumer = {"uuid": OWNER, "project_id": 1, "user_id": 1, "generation": 1}
        connection.execute(made.Consumer.__table__.insert(), [consumer])
        taken = [
            {"resource_provider_id": of, "resource_class_id": classes[name], "used": amount, "consumer_id": OWNER}
            for of, name, amount in used
        ]
        connection.execute(made.Allocation.__table__.insert(), taken)


def main() -> None:
    """Measure, print, and keep."""
    options = report.parser(__doc__)
    options.add_argument("--hosts", type=int, nargs="+", default=[100, 1000, 5000])
    options.add_argument("--rounds", type=int, default=9)
    args = options.parse_args()
    World.rounds = args.rounds
    for hosts in args.hosts:
        World.hosts = hosts
        result = World("test_rounds").run()
        if result is None or not result.wasSuccessful():
            raise SystemExit(
                "\n".join(text for _, text in [*result.errors, *result.failures]) if result else "no result"
            )
        print(f"{hosts} hosts: {World.rows[-1]}", flush=True)
        if args.write:
            report.keep("select_destinations", {"rounds": args.rounds, "rows": World.rows})
    ours, without, novas = VARIANTS
    report.table(
        "select_destinations, seconds: the median of the rounds",
        ("hosts", *VARIANTS, "added", "CPU added", "Nova / KongMing", "HTTP added", "a snapshot"),
        [
            (
                row["hosts"],
                *row["seconds"].values(),
                f"{(row['seconds'][ours] / row['seconds'][without] - 1) * 100:+.1f} %",
                f"{(row['cpu_seconds'][ours] / row['cpu_seconds'][without] - 1) * 100:+.1f} %",
                row["seconds"][novas] / row["seconds"][ours],
                row["requests_added"],
                row["snapshot_seconds"],
            )
            for row in World.rows
        ],
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The page of ``openstack kongming report --html`` for many hosts: its size, and how long headless Chromium draws it.

``python -m benchmarks.cluster_page`` makes the page from values as Placement and Nova give them, opens it several times
in a browser with an empty cache, and searches in it. Drawn means that the first frame with all of it has been painted
after the script has run.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import report
from kongming_sched.cli.report.cluster import Cluster, make_cluster
from kongming_sched.cli.report.page import report_page
from kongming_sched.cloud.compute import Flavor, Server
from kongming_sched.cloud.hosts import hosts_of
from kongming_sched.cloud.nodes import nodes_of
from kongming_sched.placement import names
from kongming_sched.placement.summaries import ProviderSummary
from kongming_sched.placement.templates import StoredTemplate, TemplateList
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.template import PinningTemplate
from testbed.browser import browser

NODES, PCPUS, MEMORY_MB, SHARED = 2, 56, 262144, 64
TEMPLATES = [
    {"name": "gold", "cells": [{"vcpus": "0-3", "cpus": "dedicated", "threads": "isolate"}]},
    {"name": "silver", "cells": [{"vcpus": "0-3", "cpus": "dedicated"}]},
    {"name": "bronze", "cells": [{"vcpus": "0-1", "cpus": "shared"}]},
]
TAKES = {"gold": (names.PCPU, 8), "silver": (names.PCPU, 4), "bronze": (names.VCPU, 2)}

DRAWN = """
const done = arguments[arguments.length - 1];
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
"""
"""Milliseconds from the beginning of the navigation to the frame after the next one."""

SEARCHED = """
const box = document.getElementById('find'), done = arguments[arguments.length - 1], from = performance.now();
box.value = arguments[0];
box.dispatchEvent(new Event('input'));
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from)));
"""


def make_cloud(hosts: int, servers_per_host: int, seed: int = 6) -> Cluster:
    """A cloud as it is read: hosts of two nodes, filled by lot with servers of three templates."""
    lot = random.Random(seed)
    provider_names, summaries, servers = {}, [], []
    traits = {names.template_trait(str(template["name"])) for template in TEMPLATES} | {names.smt_trait(2)}
    for number in range(hosts):
        host, root = f"compute-{number:04}.example.org", str(uuid.UUID(int=lot.getrandbits(128), version=4))
        used = [dict.fromkeys((names.PCPU, names.VCPU, names.MEMORY_MB), 0) for _ in range(NODES)]
        for index in range(servers_per_host):
            template = lot.choice(TEMPLATES)["name"]
            node = used[index % NODES]
            name, amount = TAKES[str(template)]
            node[name] += amount
            node[names.MEMORY_MB] += lot.choice([8192, 16384, 32768])
            flavor = Flavor("", "m1", 4, 8192, {TEMPLATE_KEY: str(template)})
            server = str(uuid.UUID(int=lot.getrandbits(128), version=4))
            servers.append(Server(server, f"web-{number:04}-{index:02}", flavor, {}, host, "ACTIVE"))
        summaries.append(ProviderSummary(root, root, None, frozenset(), {"MEMORY_MB": 1 << 20}, {"MEMORY_MB": 0}))
        for node_id, node in enumerate(used):
            node_uuid = names.node_uuid(root, node_id)
            provider_names[node_uuid] = names.node_name(host, node_id)
            capacity = {names.NODE: 1, names.PCPU: PCPUS, names.VCPU: SHARED, names.MEMORY_MB: MEMORY_MB}
            own = frozenset(traits | {names.node_trait(node_id)})
            summaries.append(ProviderSummary(node_uuid, root, root, own, capacity, {names.NODE: 0, **node}))
    templates = {item.name: StoredTemplate(item, 1) for item in map(PinningTemplate.from_mapping, TEMPLATES)}
    nodes = nodes_of(provider_names, (item for item in summaries if names.NODE in item.capacity))
    return make_cluster(nodes, hosts_of(provider_names, summaries), TemplateList(templates, ()), servers)


def measure(path: Path, repeats: int, word: str, screenshot: Path | None) -> dict[str, float]:
    """How long a browser draws the page at 1280 pixels, and searches in it; medians in seconds."""
    drawn, searched = [], []
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as window:
        window.resize(1280, 900)
        for _ in range(repeats):
            window.open(Path("/dev/null"))
            window.open(path)
            drawn.append(float(window.run_async(DRAWN)))
            searched.append(float(window.run_async(SEARCHED, word)))
            found = window.run("return document.getElementById('found').textContent")
            assert found.startswith("1 of "), found
        if screenshot is not None:
            window.open(Path("/dev/null"))
            window.open(path)
            window.screenshot(screenshot, whole=False)
    return {"drawn_s": statistics.median(drawn) / 1000, "searched_s": statistics.median(searched) / 1000}


def main() -> None:
    """Make, measure, print, and keep if asked to."""
    parser = report.parser(__doc__)
    parser.add_argument("--hosts", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--servers-per-host", type=int, default=10, help="of templates (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="how often it is drawn (default: %(default)s)")
    parser.add_argument("--screenshot", type=Path, help="where to put a picture of its top at 1280 x 900")
    parser.add_argument("--keep-page", type=Path, help="where to leave the page")
    options = parser.parse_args()
    cloud = make_cloud(options.hosts, options.servers_per_host)
    started_at = time.monotonic()
    text = report_page(cloud, datetime(2026, 11, 21, 12, tzinfo=timezone.utc), "Region one")
    made_s = time.monotonic() - started_at
    with tempfile.TemporaryDirectory() as directory:
        path = options.keep_page or Path(directory) / "report.html"
        path.write_text(text, encoding="utf-8")
        word = cloud.hosts[len(cloud.hosts) // 2].name
        times = measure(path, options.repeats, word, options.screenshot)
    figures = {
        "hosts": options.hosts,
        "nodes": options.hosts * NODES,
        "servers": options.hosts * options.servers_per_host,
        "size_mb": len(text.encode()) / 1e6,
        "made_s": made_s,
        **times,
    }
    report.table("A page of the whole cloud", list(figures), [list(figures.values())])
    if options.write:
        report.keep("cluster_page", figures)


if __name__ == "__main__":
    main()

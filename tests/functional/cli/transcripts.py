# SPDX-License-Identifier: Apache-2.0
"""What is asked of every command for its golden file: help, empty answers, success as a table and as JSON, and errors.

``EMPTY`` is asked of a cloud that has nothing of KongMing, ``FULL`` of the one that :mod:`test_golden` builds.
"""

from __future__ import annotations

EMPTY: dict[str, list[str]] = {
    "template list": ["", "-f json", "--long -f json"],
    "template export": ["", "--format json"],
    "template show": ["gold"],
    "host list": ["", "-f json"],
    "host show": ["c9"],
    "host disable": ["c9"],
    "host delete": ["c9"],
    "host enable": ["c9"],
    "host unset": ["c9 --machine", "c9"],
    "server list": ["--host c9", "--host c9 -f json"],
    "server show": ["nobody"],
    "flavor validate": ["", "-f json"],
    "explain": ["--flavor nothing"],
    "capacity": ["", "-f json"],
    "report": ["--html cloud.html"],
    "timetable": ["", "-f json"],
}

FULL: dict[str, list[str]] = {
    "template create": [
        "--file bronze.yaml --dry-run",
        "--file bronze.yaml --dry-run -f json",
        "--file bronze.yaml",
        "--file bronze.yaml -f json",
        "--file many.yaml -f value -c name",
        "--file gold2.yaml",
        "--file overlapping.yaml",
        "--file overlapping.yaml --dry-run",
        "--file broken.yaml",
        "--file gone.yaml",
        "silver --file bronze.yaml",
        "--file bronze.yaml --aggregate rack9",
        "",
    ],
    "template set": [
        "gold --file gold2.yaml --dry-run",
        "gold --file gold2.yaml --dry-run -f json",
        "gold --file gold2.yaml",
        "gold --file gold2.yaml --dry-run",
        "exact --file exact2.yaml --dry-run",
        "gold --file gold3.yaml",
        "gold --file gold3.yaml --dry-run",
        "nobody --no-aggregate",
        "gold",
    ],
    "template list": [
        "",
        "-f json",
        "--long",
        "--long -f json",
        "--host c2",
        "--aggregate rack1 -f value -c name",
        "--template exact -f value -c name -c hosts",
        "--host c9",
    ],
    "template show": ["gold", "gold -f json", "exact", "exact -f json", "nobody"],
    "template export": ["exact", "exact --format json", "nobody", "--format csv"],
    "template delete": ["gold", "gold unused --dry-run", "unused --dry-run -f json", "unused", "unused"],
    "flavor set": [
        "plain --template gold --dry-run",
        "plain --template gold --dry-run -f json",
        "plain --template gold",
        "plain --template gold --dry-run",
        "plain --template exact",
        "plain --template nobody",
        "nothing --template gold",
        "plain",
    ],
    "flavor unset": ["m1.gold --dry-run", "m1.gold --dry-run -f json", "m1.gold", "m1.gold --dry-run", "nothing"],
    "flavor show": ["m1.gold", "m1.gold -f json", "m1.wrong", "m1.wrong -f json", "plain", "plain -f json", "nothing"],
    "flavor validate": [
        "m1.gold m1.exact",
        "m1.gold -f json",
        "",
        "-f json",
        "--template exact --long",
        "--long -f json",
        "nothing",
    ],
    "host list": [
        "",
        "-f json",
        "--template exact",
        "--host c2 --long -f json",
        "--aggregate rack1",
        "--sort-column dedicated_cpus --sort-descending -c host -c node -c dedicated_cpus",
        "--host c9",
        "--aggregate rack9",
    ],
    "host show": ["c1", "c2", "c2 -f json", "bare"],
    "host disable": [
        "c2 --dry-run",
        "c2 --dry-run -f json",
        "c1 --node 1 --dry-run",
        "c2",
        "c2 --dry-run",
        "c1 --dry-run",
        "c1 --node 4",
        "bare",
    ],
    "host delete": ["c9", "c2 --dry-run", "c2 --dry-run -f json"],
    "host enable": ["c3 --dry-run", "c3 --dry-run -f json", "c3", "c3 --dry-run", "bare"],
    "host unset": ["c3 --machine --dry-run", "c3 --machine", "bare --machine"],
    "server list": [
        "",
        "-f json",
        "--long -f json",
        "--host c1 -f value -c name -c nodes",
        "--template exact -f value -c name",
        "--aggregate rack1 -f value -c name",
        "--aggregate rack9",
    ],
    "server show": ["web", "web -f json", "db", "nobody"],
    "server set": [
        'web --cpus "0:2;1:10" --dry-run',
        'web --cpus "0:2;1:10" --dry-run -f json',
        'web --cpus "0:2;1:10"',
        'web --cpus "0:2;1:10" --dry-run',
        "web --cpus 3 --dry-run",
        "web --cpus 3",
        "db --cpus 2-3",
        "web --template gold --node 1 --dry-run",
        "web --template gold --cpus 3",
        "--all --with-template pair --template gold",
        "--all --with-template pair --host c9 --template gold",
        "--all --with-template pair --template gold --project gone",
        "--all --template gold",
        "web --template gold --at-most 2",
        "",
        "web",
        "nobody --cpus 2",
    ],
    "server unset": ["web --cpus --dry-run", "web --cpus", "web --cpus --dry-run", "web", "nobody --cpus"],
    "explain": [
        "--flavor m1.gold",
        "--flavor m1.gold -f json",
        "--flavor m1.gold --long --host c1",
        "--flavor m1.gold --long -f json",
        "--flavor m1.exact --aggregate rack1",
        "--flavor m1.wrong --host c1",
        "--flavor plain",
        "--flavor m1.gold --host c9",
        "--server nobody",
        "",
    ],
    "capacity": [
        "",
        "-f json",
        "--by host",
        "--by host --template gold --long -f json",
        "--by aggregate --template gold",
        "--flavor m1.gold",
        "--flavor m1.gold --by host -f json",
        "--flavor m1.gold=3 --flavor m1.exact=3",
        "--flavor m1.gold=30 --flavor m1.exact=3 --long -f json",
        "--flavor m1.gold=3 --flavor m1.exact=3 --by host",
        "--flavor m1.gold=3 --flavor m1.exact",
        "--flavor m1.gold=3 --by aggregate",
        "--without c1 --add-host 2=like:c1 --by host --template gold",
        "--add-host 2=c1",
        "--add-host 2=like:c9",
        "--flavor m1.wrong",
        "--flavor plain",
        "--template nobody",
        "--host c9",
    ],
    "report": ["--html cloud.html", "--no-servers --title Region-one --html cloud.html", "--html no/cloud.html", ""],
    "timetable": [
        "--since 2026-01-02T12:00:00+01:00",
        "--since 2026-01-02T12:00:00+01:00 -f json",
        "--since 2026-03-28T23:00:00Z --template unused",
        "--since 2026-01-02T12:00:00+01:00 --template gold",
        "--template nobody",
        "--since tomorrow",
    ],
}

FILES = {
    "gold.yaml": """\
name: gold
cells:
  - {vcpus: 0-1, cpus: dedicated, threads: isolate}
override: denied
""",
    "pair.yaml": """\
name: pair
cells:
  - {vcpus: 0-1, cpus: dedicated}
override: allowed
""",
    "exact.yaml": """\
name: exact
cells:
  - {vcpus: 0-1, cpus: explicit, pins: {0: 1, 1: 9}}
""",
    "unused.yaml": """\
name: unused
cells:
  - {vcpus: 0-3, cpus: dedicated, threads: require, memory: none}
  - {vcpus: 4, cpus: dedicated, node: 0}
qos: {shares: 512}
hours:
  - {zone: Europe/Berlin, days: sun-thu, from: 22:00, to: 06:00, qos: {}}
  - {zone: Europe/Berlin, days: sat, to: 12:30, qos: {shares: 64, quota_us: 50000}, emulator: cell}
""",
    "bronze.yaml": """\
name: bronze
cells:
  - {vcpus: 0, cpus: explicit, pins: 2, node: 0}
""",
    "many.yaml": """\
name: many1
cells: [{vcpus: 0, cpus: dedicated}]
---
name: many2
cells: [{vcpus: 0-1, cpus: dedicated}]
""",
    "gold2.yaml": """\
name: gold
cells:
  - {vcpus: 0-1, cpus: dedicated, threads: isolate}
emulator: cell
qos: {shares: 512}
""",
    "gold3.yaml": """\
name: gold
cells:
  - {vcpus: 0-1, cpus: dedicated}
""",
    "exact2.yaml": """\
name: exact
cells:
  - {vcpus: 0-1, cpus: explicit, pins: {0: 2, 1: 9}}
""",
    "overlapping.yaml": """\
name: overlapping
cells:
  - {vcpus: 0, cpus: explicit, pins: 8-9}
""",
    "broken.yaml": """\
name: broken
cells:
  - vcpus: 0-1
    cpus: explicit
    pins: {0: 3}
""",
}
"""What the commands find in the folder where they run."""

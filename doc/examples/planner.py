#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An example of a planner (MANO): decides itself which host CPUs each network function gets, and tells KongMing.

It reads what there is and what is taken, chooses host CPUs for every function of a file, and writes one template for
each, all of them or none. It knows nothing of KongMing but its commands and their JSON, for which there are schemas in
``kongming_sched/schemas``; so it may as well be written in any other language, or be a part of something larger.

The file says which cores of each NUMA node the planner may give away, as the host CPUs (threads) of each core, and what
the functions need. See functions.json beside this file. The cores lie in the agents' ``dedicated_cpu_set``::

    planner.py functions.json --aggregate rack1

Given again after whatever went wrong, it comes to the same: functions that have their template keep it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Core = tuple[int, ...]
"""The host CPUs of a core."""


class CannotPlanError(Exception):
    """The functions do not fit, or a command failed."""


@dataclass(frozen=True)
class Function:
    """A network function, of which one server runs on each host.

    :ivar isolate: whether each vCPU has a core of its own, whose other threads stay idle
    """

    name: str
    vcpus: int
    isolate: bool = False


def openstack(*words: str, stdin: str = "") -> Any:
    """What a command prints as JSON; None if it prints nothing."""
    done = subprocess.run(["openstack", *words], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotPlanError(done.stderr.strip() or done.stdout.strip())
    return json.loads(done.stdout) if done.stdout.strip() else None


def read_cpus(text: str) -> set[int]:
    """The numbers of a CPU set as KongMing prints it: "5-6,9"."""
    ranges = [part.partition("-") for part in text.split(",") if part]
    return {cpu for low, _, high in ranges for cpu in range(int(low), int(high or low) + 1)}


def taken_cpus(templates: Iterable[Mapping[str, Any]]) -> set[int]:
    """The host CPUs that templates have already."""
    pins = [cell.get("pins", "") for item in templates for cell in item["cells"]]
    texts = [text for pin in pins for text in (pin.values() if isinstance(pin, Mapping) else [pin])]
    return set().union(*map(read_cpus, texts))


def cpus_of(function: Function, cores: list[Core]) -> Iterator[int]:
    """The host CPU of each vCPU, from whole cores that are taken off the list."""
    left: list[int] = []
    for _ in range(function.vcpus):
        if not left:
            left = list(cores.pop(0))
        yield left.pop(0)
        if function.isolate:
            left = []


def plan(functions: Iterable[Function], nodes: Mapping[int, Sequence[Core]]) -> list[dict[str, Any]]:
    """A template for each function: the largest first, each on the node with most cores left.

    :param nodes: the cores of each NUMA node that nobody has
    """
    free = {node: list(cores) for node, cores in nodes.items()}
    made = []
    for function in sorted(functions, key=lambda function: (-function.vcpus, function.name)):
        node = max(free, key=lambda node: (len(free[node]), -node))
        try:
            pins = {vcpu: str(cpu) for vcpu, cpu in enumerate(cpus_of(function, free[node]))}
        except IndexError:
            raise CannotPlanError(f"function {function.name} of {function.vcpus} vCPUs fits on no node") from None
        cell = {"vcpus": f"0-{function.vcpus - 1}", "cpus": "explicit", "pins": pins, "node": node}
        made.append({"name": function.name, "cells": [cell], "emulator": "shared"})
    return made


def read_plan(path: Path) -> tuple[list[Function], dict[int, list[Core]]]:
    """The functions and the cores of a file."""
    document = json.loads(path.read_text())
    functions = [
        Function(item["name"], item["vcpus"], item.get("threads") == "isolate") for item in document["functions"]
    ]
    cores = document["nodes"].items()
    return functions, {int(node): [tuple(sorted(read_cpus(core))) for core in mine] for node, mine in cores}


def check_room(nodes: Mapping[int, Sequence[Core]], in_aggregate: Sequence[str]) -> None:
    """See that each host has as many CPUs in its dedicated pools as are to be given away."""
    hosts = openstack("kongming", "host", "list", *in_aggregate, "-f", "json")
    if not hosts:
        raise CannotPlanError("no host takes servers of templates; see 'openstack kongming host list'")
    for host in hosts:
        total = (host["dedicated_cpus"] or {"total": 0})["total"]
        wanted = sum(map(len, nodes.get(host["node"], ())))
        if wanted > total:
            raise CannotPlanError(f"node {host['node']} of {host['host']} has {total} dedicated CPUs, not {wanted}")


def main() -> int:
    """Read, plan, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="which cores may be given away, and what the functions need")
    parser.add_argument("--aggregate", help="only for the hosts of this aggregate (name or UUID)")
    args = parser.parse_args()
    in_aggregate = ["--aggregate", args.aggregate] if args.aggregate else []
    try:
        functions, nodes = read_plan(args.file)
        stored = openstack("kongming", "template", "list", *in_aggregate, "-f", "json")
        there = {item["name"] for item in stored}
        new = [function for function in functions if function.name not in there]
        if not new:
            print("every function has its template")
            return 0
        gone = taken_cpus(stored)
        free = {node: [core for core in cores if gone.isdisjoint(core)] for node, cores in nodes.items()}
        check_room(free, in_aggregate)
        templates = plan(new, free)
        words = ["kongming", "template", "create", "--file", "-", *in_aggregate]
        for line in openstack(*words, "--dry-run", "-f", "json", stdin=json.dumps(templates)):
            print(f"{line['effect']}: {line['subject']} on {line['host'] or 'all hosts'}: {line['detail']}")
        openstack(*words, "-f", "json", stdin=json.dumps(templates))
        for template in templates:
            pins = template["cells"][0]["pins"]
            print(f"{template['name']}: CPUs {', '.join(pins.values())} of node {template['cells'][0]['node']}")
    except (CannotPlanError, OSError, ValueError, KeyError) as error:
        print(f"planner: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

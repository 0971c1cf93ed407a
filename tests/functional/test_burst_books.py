# SPDX-License-Identifier: Apache-2.0
"""The books in memory that stand for Placement where the benchmark of bursts is large."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from benchmarks.burst import query
from benchmarks.burst_books import Books
from benchmarks.burst_cloud import Cloud, running
from kongming_sched.placement import flavor
from kongming_sched.template import PinningTemplate
from testbed.nova_objects import make_spec

HOSTS = 2
BIG = PinningTemplate.from_mapping(
    {"name": "big", "cells": [{"vcpus": "0-7", "cpus": "dedicated", "memory": "none"}]},
)
BIG_SPECS = flavor.extra_specs(BIG, {}, vcpus=8, memory_mb=64)


def facts(cloud: Cloud | Books, queries: Sequence[Mapping[str, str]]) -> list[object]:
    """What a scheduler sees of Placement: candidates, and what is taken of each node."""
    offered = [sorted(json.dumps(each, sort_keys=True) for each in cloud.candidates(each)) for each in queries]
    summaries = {each.uuid: (each.root_uuid, each.traits, each.capacity) for each in cloud.client.node_summaries()}
    used = {
        each.uuid: {name: amount for name, amount in each.used.items() if amount}
        for each in cloud.client.node_summaries()
    }
    return [*offered, summaries, used]


@pytest.mark.parametrize("seed", range(3))
def test_books_answer_as_placement_does(seed: int) -> None:
    """Servers with and without a template come and go until all is full; candidates are offered, taken and refused."""
    chance, books = random.Random(seed), Books(HOSTS)
    queries = [query(make_spec(specs)) for specs in (BIG_SPECS, {})]
    with running(HOSTS) as placement:
        offers: list[dict[str, Any]] = [each for wanted in queries for each in books.candidates(wanted)]
        running_servers: list[str] = []
        for _ in range(20):
            server, offer = str(uuid.UUID(int=chance.getrandbits(128))), chance.choice(offers)["allocations"]
            taken = placement.claim(server, offer)
            assert taken == books.claim(server, offer)
            if taken:
                running_servers.append(server)
            if len(running_servers) > 10:
                gone = [running_servers.pop(chance.randrange(len(running_servers)))]
                placement.clear(gone)
                books.clear(gone)
            assert facts(placement, queries) == facts(books, queries)

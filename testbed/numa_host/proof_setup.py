# SPDX-License-Identifier: Apache-2.0
"""What the proof plays with: the host's pools, its templates and its servers. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.flavor import extra_specs
from kongming_sched.template import PinningTemplate

HOUSEKEEPING = CpuSet.parse("0-1")
DEDICATED = CpuSet.parse("2-7")
"""Of the two cores of node 0 (CPUs 0-3) one, of node 1 (CPUs 4-7) both."""

THREADS_PER_CORE = 2
MEMORY_MB = 64
"""Of most servers."""
LARGE_MB = 600
"""Of one, so that the emulated kernel takes seconds to move it."""

UNIT = "kongming-agent.service"
"""The agent has the capabilities that its unit leaves to it: the host has no systemd to run that."""

_NAMESPACE = uuid.UUID("6b6f6e67-6d69-4e67-8e75-6d61686f7374")


PAGES = "2MiB"


def _template(name: str, *cells: dict[str, object], **more: object) -> PinningTemplate:
    return PinningTemplate.from_mapping({"name": name, "cells": list(cells), **more})


def _dedicated(vcpus: str, threads: str = "any", **more: object) -> dict[str, object]:
    return {"vcpus": vcpus, "cpus": "dedicated", "threads": threads, **more}


def exact_on(first: int, second: int) -> PinningTemplate:
    """Two vCPUs on host CPUs that the operator names."""
    return _template("exact", {"vcpus": "0-1", "cpus": "explicit", "pins": {0: str(first), 1: str(second)}})


EXACT = exact_on(2, 3)

PAIR = _template("pair", _dedicated("0-1"))
PERIOD_US, QUOTA_US, OWN_QUOTA_US = 50_000, 40_000, 10_000
LIMITED_PAIR = _template(
    "pair",
    _dedicated("0-1"),
    qos={"period_us": PERIOD_US, "quota_us": QUOTA_US, "vcpus": {1: {"quota_us": OWN_QUOTA_US}}},
)
"""The same with a limit, and a narrower one for its second vCPU."""

TEMPLATES = {
    template.name: template
    for template in (
        _template("single", _dedicated("0")),
        PAIR,
        _template("isolated", _dedicated("0", "isolate")),
        _template("siblings", _dedicated("0-1", "prefer")),
        _template("core", _dedicated("0-1", "require")),
        _template("twin", _dedicated("0"), _dedicated("1")),
        EXACT,
        _template("paged", _dedicated("0-1", pages=PAGES)),
        _template("equal", *(_dedicated(vcpu, pages=PAGES) for vcpu in "01"), guest_numa="visible"),
        _template("unequal", *(_dedicated(vcpus, pages=PAGES) for vcpus in ("0", "1-3")), guest_numa="visible"),
        _template("helped", _dedicated("0-1", pages=PAGES), emulator="own"),
    )
}


@dataclass(frozen=True)
class Server:
    """A server of a flavor that names a template.

    :ivar nodes: the host NUMA node that each cell claims
    """

    name: str
    template: str
    nodes: tuple[int, ...]
    memory_mb: int = MEMORY_MB

    @property
    def uuid(self) -> str:
        """The same in every run."""
        return str(uuid.uuid5(_NAMESPACE, self.name))

    @property
    def extra_specs(self) -> dict[str, str]:
        """Those of its flavor, as ``openstack kongming flavor set`` writes them."""
        template = TEMPLATES[self.template]
        return extra_specs(
            template, {}, vcpus=template.vcpus, memory_mb=self.memory_mb, threads_per_core=THREADS_PER_CORE
        )


SERVERS = {
    server.name: server
    for server in (
        Server("right", "pair", (1,)),
        Server("one", "single", (1,)),
        Server("two", "single", (1,)),
        Server("three", "single", (1,)),
        Server("lone", "isolated", (1,)),
        Server("near", "siblings", (1,)),
        Server("whole", "core", (0,)),
        Server("both", "twin", (0, 1)),
        Server("named", "exact", (0,)),
        Server("large", "pair", (1,), LARGE_MB),
        Server("paged0", "paged", (0,)),
        Server("paged1", "paged", (1,)),
        Server("halves", "equal", (0, 1)),
        Server("parts", "unequal", (0, 1)),
        Server("helped", "helped", (1,)),
    )
}

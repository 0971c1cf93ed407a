# SPDX-License-Identifier: Apache-2.0
"""The host of the stories, which is small so that it is soon full, and the templates of its servers."""

from __future__ import annotations

from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HostPools
from kongming_sched.template import PinningTemplate
from testbed.topologies import make_topology

TOPOLOGY = make_topology(2, 5, 2)
"""Two nodes of five cores; the second thread of a core has the number of the first plus 10."""

DEDICATED = CpuSet.parse("1-4,6-9,11-14,16-19")
POOLS = HostPools(DEDICATED, CpuSet.parse("10,15"), CpuSet.parse("0,5"), 4.0, 1024)

_ONE, _TWO = "0", "0-1"


def _dedicated(name: str, vcpus: str, threads: str, **more: object) -> PinningTemplate:
    cell = {"vcpus": vcpus, "cpus": "dedicated", "threads": threads}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell], **more})


def _explicit(name: str, first: str, second: str) -> PinningTemplate:
    cell = {"vcpus": _TWO, "cpus": "explicit", "pins": {0: first, 1: second}}
    return PinningTemplate.from_mapping({"name": name, "cells": [cell]})


def _mixed(threads: str, **more: object) -> PinningTemplate:
    """Of one dedicated vCPU and one that floats."""
    cell = {"vcpus": _TWO, "cpus": "dedicated", "threads": threads, "shared_vcpus": "0"}
    return PinningTemplate.from_mapping({"name": "mixed", "cells": [cell], **more})


VERSIONS: dict[str, list[PinningTemplate]] = {
    "gold": [
        _dedicated("gold", _ONE, "isolate", qos={"shares": 2048}),
        _dedicated("gold", _ONE, "isolate", emulator="cell"),
        _dedicated("gold", _ONE, "isolate", qos={"quota_us": 80_000}),
        _dedicated("gold", _ONE, "any"),
    ],
    "silver": [
        _dedicated("silver", _TWO, "require", emulator="cell"),
        _dedicated("silver", _TWO, "prefer"),
        _dedicated("silver", _TWO, "any", emulator="cell"),
        _dedicated("silver", _TWO, "isolate"),
    ],
    "loud": [
        _dedicated("loud", _ONE, "any", emulator="own"),
        _dedicated("loud", _ONE, "prefer", emulator="own", qos={"shares": 2048}),
    ],
    "quiet": [
        _dedicated("quiet", _ONE, "isolate", emulator="own"),
        _dedicated("quiet", _ONE, "require", emulator="own"),
        _dedicated("quiet", _TWO, "require", emulator="own"),
    ],
    "single": [_dedicated("single", _ONE, "any"), _dedicated("single", _ONE, "prefer", qos={"quota_us": 50_000})],
    "exact": [_explicit("exact", "6", "16"), _explicit("exact", "7", "17"), _explicit("exact", "1", "11")],
    "bronze": [
        PinningTemplate.from_mapping({"name": "bronze", "cells": [{"vcpus": _ONE, "cpus": "shared"}]}),
    ],
    "mixed": [
        _mixed("isolate"),
        _mixed("isolate", emulator="cell"),
        _mixed("isolate", qos={"shares": 2048}),
        _mixed("any"),
    ],
    "twin": [
        PinningTemplate.from_mapping(
            {"name": "twin", "cells": [{"vcpus": "0", "cpus": "dedicated"}, {"vcpus": "1", "cpus": "dedicated"}]}
        ),
    ],
}
"""What each template is at first, and what it may become; the last of four takes something else than the others."""

# SPDX-License-Identifier: Apache-2.0
"""What the commands change of a server's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kongming_sched.cloud.compute import ComputeClient, Server


@dataclass(frozen=True, slots=True)
class Steps:
    """Changes of a server's metadata: keys to set, and keys to delete."""

    set: Mapping[str, str]
    delete: tuple[str, ...]

    def lines(self, before: Mapping[str, str]) -> list[str]:
        """As in ``kongming:cpus: 5-6 -> 7-8``."""
        changes = {**self.set, **dict.fromkeys(self.delete, "-")}
        return [f"{key}: {before.get(key, '-')} -> {value}" for key, value in sorted(changes.items())]


def change(before: Mapping[str, str], wanted: Mapping[str, str]) -> Steps:
    """The changes from the keys that a server has to the wanted ones."""
    return Steps(
        {key: value for key, value in wanted.items() if before.get(key) != value},
        tuple(key for key in before if key not in wanted),
    )


def write(compute: ComputeClient, server: Server, steps: Steps) -> None:
    """Carry the changes out: what is set first, in one request."""
    if steps.set:
        compute.set_metadata(server, steps.set)
    for key in steps.delete:
        compute.delete_metadata(server, key)

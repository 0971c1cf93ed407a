# SPDX-License-Identifier: Apache-2.0
"""All that Placement holds, to see that a command that fails leaves it alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kongming_sched.placement.client import PlacementClient


def state_of(client: PlacementClient) -> dict[str, Any]:
    """Every provider by name, with its generation, traits, aggregates and inventories."""
    return {
        provider.name: (
            provider,
            client.traits(provider.uuid),
            client.aggregates(provider.uuid),
            client.inventories(provider.uuid),
        )
        for provider in client.providers()
    }


@contextmanager
def unchanged(client: PlacementClient) -> Iterator[None]:
    """Assert that Placement holds after the block what it held before."""
    before = state_of(client)
    yield
    assert before == state_of(client)

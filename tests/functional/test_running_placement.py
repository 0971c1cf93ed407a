# SPDX-License-Identifier: Apache-2.0
"""The Placement that tests are run on."""

from __future__ import annotations

import random
import uuid

from tests.functional.conftest import running_placement


def test_examples_that_begin_with_the_same_seed() -> None:
    """Each has a database of its own, which is gone when it ends."""
    seen = []
    for _ in range(3):
        random.seed(0)
        with running_placement() as service:
            service.client.create_provider(str(uuid.uuid4()), "host")
            seen.append(len(service.client.providers()))

    assert [1, 1, 1] == seen

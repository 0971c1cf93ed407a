# SPDX-License-Identifier: Apache-2.0
"""Decides how all tests run, before one of them imports anything.

Nova runs as its own fixtures of the installed release need, which is on native threads now: the first import of its
libraries would else bring eventlet, and the fixtures would patch this process. For Hypothesis a property is
right or wrong, however slow a machine is that others use too.
"""

from __future__ import annotations

import gc

from testbed.releases import fixtures

fixtures.run_as_the_fixtures_do()

from hypothesis import HealthCheck, Phase, settings  # noqa: E402  # eventlet patches what is imported later

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "kill", settings.get_profile("patient"), database=None, phases=[Phase.explicit, Phase.generate]
)
"""For tools/mutate, which wants to know whether a test fails, and not the smallest example."""
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """What is imported by now stays: without it the collector of garbage takes a tenth less of the CPU time."""
    gc.collect()
    gc.freeze()

# SPDX-License-Identifier: Apache-2.0
"""Decides how all tests run, before one of them imports anything.

Nova runs on native threads here, as nova-scheduler does: the first import of its libraries would else bring eventlet,
and Nova's own fixtures would patch this process. For Hypothesis a property is right or wrong, however slow a machine is
that others use too.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from nova import monkey_patch

monkey_patch.patch("threading")

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

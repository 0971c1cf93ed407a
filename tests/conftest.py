# SPDX-License-Identifier: Apache-2.0
"""Decides, before a test imports anything of Nova, that Nova runs on native threads here as nova-scheduler does.

The first import of Nova's libraries would else bring eventlet, and Nova's own fixtures would patch this process.
"""

from __future__ import annotations

from nova import monkey_patch

monkey_patch.patch("threading")

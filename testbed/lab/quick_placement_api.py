# SPDX-License-Identifier: Apache-2.0
"""Placement's application with remembered reads, for :class:`testbed.lab.placement_api.PlacementApi`.

For long runs that measure something else than Placement.
"""

from __future__ import annotations

from placement.wsgi import api

from testbed.quick_placement import RememberedReads

application = RememberedReads(api.application)

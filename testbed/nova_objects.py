# SPDX-License-Identifier: Apache-2.0
"""What Nova's scheduler gives its filters and weighers, made without Nova's database."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from nova import objects
from nova.scheduler import host_manager

objects.register_all()


def make_spec(extra_specs: Mapping[str, str], **more: Any) -> objects.RequestSpec:
    """What Nova's scheduler is asked for one server."""
    flavor = objects.Flavor(name="f1", vcpus=1, memory_mb=256, extra_specs=dict(extra_specs))
    return objects.RequestSpec(flavor=flavor, instance_uuid=str(uuid.uuid4()), **more)


def make_host_state(name: str, root_uuid: str, candidates: object = ()) -> host_manager.HostState:
    """A host as a filter sees it."""
    state = host_manager.HostState(name, name, str(uuid.uuid4()))
    state.uuid = root_uuid
    state.allocation_candidates = candidates
    return state

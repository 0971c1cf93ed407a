# SPDX-License-Identifier: Apache-2.0
"""The flavor that a guest has, as Nova writes it into the domain's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass

from kongming_sched.placement.classes.records import flavor_mark
from kongming_sched.qos import PERIOD_US, QUOTA_US, SHARES
from kongming_sched.request import TEMPLATE_KEY
from kongming_sched.texts.whole_number import AMOUNTS, VCPU_COUNTS, find_whole_number

NOVA = "{http://openstack.org/xmlns/libvirt/nova/1.1}"

_QUOTA = {
    "quota:cpu_shares": ("cpu_shares", range(SHARES.stop)),
    "quota:cpu_period": ("vcpu_period", range(PERIOD_US.stop)),
    "quota:cpu_quota": ("vcpu_quota", range(-1, QUOTA_US.stop)),
}
"""The extra specs by which Nova limits CPU time: libvirt's names of them, and what libvirt takes (-1 for no limit)."""


@dataclass(frozen=True, slots=True)
class FlavorCopy:
    """What of a flavor decides about the class of its servers.

    :ivar mark: the number that stands for it in Placement
    """

    mark: int
    memory_mb: int


def read_extra_specs(instance: ET.Element) -> dict[str, str]:
    """The extra specs of the flavor in Nova's part of a domain's XML."""
    return {
        spec.get("name", ""): (spec.text or "").strip()
        for spec in instance.iterfind(f"{NOVA}flavor/{NOVA}extraSpecs/{NOVA}extraSpec")
    }


def read_flavor(instance: ET.Element, extra_specs: Mapping[str, str]) -> FlavorCopy | None:
    """The flavor in Nova's part of a domain's XML; None if it is not there as a whole."""
    flavor = instance.find(f"{NOVA}flavor")
    if flavor is None:
        return None
    vcpus = find_whole_number((flavor.findtext(f"{NOVA}vcpus") or "").strip(), VCPU_COUNTS)
    memory_mb = find_whole_number((flavor.findtext(f"{NOVA}memory") or "").strip(), AMOUNTS)
    if vcpus is None or memory_mb is None:
        return None
    mark = flavor_mark(flavor.get("name", ""), vcpus, memory_mb, extra_specs.get(TEMPLATE_KEY))
    return FlavorCopy(mark, memory_mb)


def read_quota(extra_specs: Mapping[str, str]) -> dict[str, int]:
    """A flavor's own ``quota:cpu_*`` values by libvirt's parameter names."""
    asked = {name: find_whole_number(extra_specs.get(key, ""), allowed) for key, (name, allowed) in _QUOTA.items()}
    return {name: value for name, value in asked.items() if value is not None}

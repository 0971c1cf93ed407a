# SPDX-License-Identifier: Apache-2.0
"""The servers' domains, as Nova's own code writes them. Nova is needed for that, and so it is done outside."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from testbed.lab.guests import Guest, domain_xml
from testbed.lab.scheduler import Flavor, Scheduled
from testbed.numa_host.nova_layout import lay_out
from testbed.numa_host.proof_setup import TEMPLATES, Server


def write_domain(server: Server) -> str:
    """The XML of a server's guest.

    Beyond what Nova writes for a plain flavor the memory is allocated at the start, so that there are pages to be moved
    although the guest, which has no disk, uses hardly any. A server that Nova lays out gets what Nova adds for that.
    """
    template = TEMPLATES[server.template]
    flavor = Flavor(server.template, server.template, template.vcpus, server.memory_mb, 0, 0, 0, server.extra_specs)
    domain = ET.fromstring(domain_xml(Guest(server.name, server.name, Scheduled(server.uuid, "", flavor, {})), "qemu"))
    if template.needs_nova_numa:
        domain.extend(lay_out(flavor, server.nodes))
    else:
        backing = ET.SubElement(domain, "memoryBacking")
        ET.SubElement(backing, "allocation", mode="immediate")
    return ET.tostring(domain, encoding="unicode")

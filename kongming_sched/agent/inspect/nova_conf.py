# SPDX-License-Identifier: Apache-2.0
"""kongming-agent --nova-conf: the lines of nova.conf for servers that Nova lays out on this host's NUMA nodes."""

from __future__ import annotations

import sys
from typing import TextIO

from oslo_config import cfg

from kongming_sched import exceptions
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor
from kongming_sched.agent.inspect.nova_numa import further_file, read_options
from kongming_sched.agent.settings import parse_settings
from kongming_sched.texts.printable import clean_lines


def print_nova_conf(conf: cfg.ConfigOpts, stream: TextIO = sys.stdout) -> int:
    """Print the lines; 1 if libvirt does not say which nodes there are, else 0.

    :param conf: parsed options
    :raises ConfigurationError: for pools that the host cannot have
    :raises oslo_config.cfg.Error: for a value of nova.conf that Nova would not take either
    """
    settings = parse_settings(conf)
    try:
        hypervisor = LibvirtHypervisor(settings.libvirt_uri)
        topology = hypervisor.topology()
        hypervisor.close()
    except (exceptions.HypervisorError, exceptions.InvalidTopology) as error:
        print(clean_lines(f"kongming-agent: {error}"), file=sys.stderr)
        return 1
    stream.write(further_file(read_options(conf, settings), settings.host_cpus(topology)))
    return 0

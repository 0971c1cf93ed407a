# SPDX-License-Identifier: Apache-2.0
"""kongming-agent: runs the agent of this host, or checks the host and ends."""

from __future__ import annotations

import signal
import sys

from oslo_config import cfg
from oslo_log import log

from kongming_sched import exceptions, version
from kongming_sched.agent.inspect import check, nova_conf
from kongming_sched.agent.loop.service import Agent
from kongming_sched.conf import agent as agent_conf
from kongming_sched.texts.printable import clean_lines
from kongming_sched.texts.records import clean_log


def parse(args: list[str] | None = None) -> cfg.ConfigOpts:
    """Read the command line and the configuration files it names.

    :raises oslo_config.cfg.Error: if they cannot be read
    """
    conf = cfg.ConfigOpts()
    agent_conf.register_opts(conf)
    conf.register_cli_opts(agent_conf.CLI_OPTS)
    log.register_options(conf)
    conf(
        args,
        project="kongming",
        prog="kongming-agent",
        version=version.line(),
        description="Pins this host's servers as templates say.",
    )
    return conf


def main(args: list[str] | None = None) -> int:
    """The command kongming-agent."""
    try:
        conf = parse(args)
        if conf.check:
            return check.check(conf)
        if conf.nova_conf:
            return nova_conf.print_nova_conf(conf)
        log.setup(conf, "kongming")
        clean_log()
        agent = Agent(conf)
        signal.signal(signal.SIGTERM, agent.stop)
        signal.signal(signal.SIGINT, agent.stop)
        signal.signal(signal.SIGHUP, agent.reload)
        agent.run()
    except (cfg.Error, exceptions.ConfigurationError) as error:
        print(clean_lines(f"kongming-agent: {error}"), file=sys.stderr)
        return 1
    return 0

# SPDX-License-Identifier: Apache-2.0
"""An agent that is killed at one of its actions.

``python -m tests.functional.agent.doomed_agent before|after N --config-file FILE`` is kongming-agent, which gets
SIGKILL right before or right after its N-th change of a guest, counted from 0.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from kongming_sched.agent.commands.agent import main
from kongming_sched.agent.host.kernel import Host
from kongming_sched.agent.host.libvirt_host import LibvirtHypervisor

CHANGES = {
    LibvirtHypervisor: ("pin_vcpu", "pin_emulator", "pin_iothread", "bind_memory", "set_scheduler"),
    Host: ("set_vcpu_quota",),
}


def doom(moment: str, number: int) -> None:
    """Let the n-th change be the last thing that this process does."""
    count = itertools.count()

    def deadly(change: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(change)
        def call(*args: Any) -> None:
            is_last = next(count) == number
            if is_last and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            change(*args)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    for owner, names in CHANGES.items():
        for name in names:
            setattr(owner, name, deadly(getattr(owner, name)))


if __name__ == "__main__":
    doom(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))

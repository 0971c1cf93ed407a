# SPDX-License-Identifier: Apache-2.0
"""An agent for which ten minutes pass at once, so that a test need not wait for its longest back-off.

``python -m tests.functional.agent.leaping_agent SIGN --config-file FILE`` is kongming-agent. Once the file SIGN is
there, guests for which libvirt was slow have been left alone for ten minutes more.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from kongming_sched.agent.commands.agent import main
from kongming_sched.agent.loop import service
from kongming_sched.agent.loop.patience import Patience

LEAP_SECONDS = 600


def leap(sign: Path) -> None:
    """Let time leap once a file is there."""

    def clock() -> float:
        return time.monotonic() + (LEAP_SECONDS if sign.exists() else 0)

    setattr(service, "Patience", lambda: Patience(clock))  # noqa: B010  # mypy refuses the assignment


if __name__ == "__main__":
    leap(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))

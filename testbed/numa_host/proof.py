# SPDX-License-Identifier: Apache-2.0
"""The proof, inside the emulated host: ``python -m testbed.numa_host.proof DIRECTORY``."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from testbed.lab.process import ended_by_signals
from testbed.lab.screen import Screen
from testbed.numa_host.host import numa_host
from testbed.numa_host.proof_layout import LayoutActs
from testbed.numa_host.proof_steps import Acts

STATUS = "status"
"""The file that holds the exit status when all is over."""
LOG_LINES = 80


def prove(directory: Path, screen: Screen) -> None:
    """Start everything, play every act, and stop everything."""
    screen.section("The emulated host starts libvirtd, Placement and kongming-agent")
    with numa_host(directory, screen) as (host, agent):
        acts = Acts(host)
        acts.play()
        LayoutActs(acts).play()
        screen.claim("kongming-agent has run all the time", agent.is_alive)


def show_log(path: Path, screen: Screen) -> None:
    """The end of a log, if there is one."""
    if path.exists():
        screen.say(f"{path.name} ends with:")
        screen.quote("\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:]))


def main() -> int:
    """Prove; 0 if every claim held."""
    directory = Path(sys.argv[1])
    screen = Screen()
    screen.environment = os.environ
    try:
        with ended_by_signals():
            prove(directory, screen)
    except Exception:  # noqa: BLE001  # whatever it was, it is reported outside
        screen.claim("the proof can be carried through", False)
        screen.quote(traceback.format_exc())
    if screen.broken:
        show_log(directory / "kongming-agent.log", screen)
    ending = f"{len(screen.broken)} of {screen.claims} claims did not hold" if screen.broken else "All claims held"
    screen.say(f"{ending}: {screen.claims}. {screen.elapsed_seconds:.0f} s inside the emulated host.")
    status = 1 if screen.broken or not screen.claims else 0
    (directory / STATUS).write_text(str(status))
    return status


if __name__ == "__main__":
    sys.exit(main())

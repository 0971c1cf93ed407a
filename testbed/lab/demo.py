# SPDX-License-Identifier: Apache-2.0
"""The demonstration: ``python -m testbed.lab.demo [--keep]``, which tools/demo runs."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from testbed.lab import demo_setup
from testbed.lab.demo_setup import Pools
from testbed.lab.demo_steps import Story
from testbed.lab.guests import FIRST_DOMAIN
from testbed.lab.lab import Lab, lab
from testbed.lab.process import LabError, ended_by_signals
from testbed.lab.screen import PROGRAMS, Screen


def describe_machine(running: Lab, pools: Pools, screen: Screen) -> None:
    """What is played on, and how it is shared out."""
    topology = running.topology
    cores = sum(len(node.cores) for node in topology.nodes)
    kind = {"kvm": "KVM", "qemu": "QEMU without KVM, which is slower"}[running.hypervisor.virt_type]
    screen.say(
        f"{platform.system()} {platform.release()} on {platform.machine()}: CPUs {topology.cpus}, {cores} cores,"
        f" {len(topology.nodes)} NUMA node(s); guests run with {kind}."
    )
    screen.say(f"KongMing gets CPUs {pools.dedicated} to dedicate and {pools.shared} to share.")


def stay_up(running: Lab, screen: Screen) -> None:
    """Say what an operator may try, and wait until a signal comes."""
    screen.section("It stays up")
    screen.say("In another terminal:")
    screen.quote(
        f"export OS_CLIENT_CONFIG_FILE={running.clouds_yaml} OS_CLOUD=kongming PATH={PROGRAMS}:$PATH\n"
        "openstack kongming template list\n"
        "openstack kongming host list\n"
        f"kongming-host map --config-file {running.agent_conf}\n"
        f"openstack kongming template set bronze --file {running.directory}/bronze.yaml\n"
        "virsh -c qemu:///system list\n"
        f"tail -f {running.directory}/kongming-agent.log",
        style="bold",
    )
    screen.say(f"Ctrl-C here, or kill {os.getpid()}, takes everything down.")
    with suppress(KeyboardInterrupt, SystemExit):
        signal.pause()


def play(screen: Screen, directory: Path, keep: bool) -> None:
    """Start everything, play the steps, and stop everything."""
    screen.section("Starting what a cloud would have")
    with lab(directory, screen.say) as running:
        screen.environment = running.environment
        pools = demo_setup.choose_pools(running.topology)
        describe_machine(running, pools, screen)
        with running.agent(pools) as agent:
            story = Story(running, pools, agent, screen)
            story.play()
            if not keep:
                story.give_all_back()
            screen.claim("kongming-agent has run all the time", agent.is_alive)
            if screen.broken:
                screen.say(f"The end of {agent.log}:")
                screen.quote(agent.tail())
            if keep:
                stay_up(running, screen)


def still_running(directory: Path) -> list[str]:
    """The command lines of processes of ours."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in command or f"guest=instance-{FIRST_DOMAIN >> 8:06x}" in command:
            found.append(command)
    return found


def main() -> int:
    """Play; 0 if everything held, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="tools/demo")
    parser.add_argument("--keep", action="store_true", help="stay up at the end")
    keep = parser.parse_args().keep
    screen = Screen()
    directory = Path(tempfile.mkdtemp(prefix="kongming-demo-"))
    directory.chmod(0o755)  # as root for the user who called sudo
    status = 1
    try:
        with ended_by_signals():
            play(screen, directory, keep)
    except LabError as error:
        screen.console.print(f"[bold red]tools/demo:[/bold red] {error}", markup=True)
        screen.broken.append(str(error))
    except (KeyboardInterrupt, SystemExit):
        status = 130
    else:
        status = 1 if screen.broken else 0
    finally:
        left = still_running(directory)
        if status != 1:
            shutil.rmtree(directory)
    screen.section("The end")
    screen.claim("nothing of it runs any more", not left, "; ".join(left))
    if screen.broken:
        screen.say(f"{len(screen.broken)} of {screen.claims} claims did not hold; the logs are in {directory}:")
        screen.quote("\n".join(screen.broken))
        return 1
    ending = "All claims were checked and held" if status == 0 else "Interrupted; the claims until then held"
    screen.say(f"{ending}: {screen.claims}. {screen.elapsed_seconds:.0f} s.")
    return status


if __name__ == "__main__":
    sys.exit(main())

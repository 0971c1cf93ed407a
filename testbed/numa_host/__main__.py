# SPDX-License-Identifier: Apache-2.0
"""``python -m testbed.numa_host``, which tools/numa-host runs as root: makes the host, boots it, and judges."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed.lab.process import REPOSITORY, LabError, ended_by_signals
from testbed.numa_host import machine
from testbed.numa_host.domains import write_domain
from testbed.numa_host.image import PROOF, default_directory, prepare_image
from testbed.numa_host.payload import parcel
from testbed.numa_host.proof import STATUS
from testbed.numa_host.proof_setup import SERVERS, UNIT

TIMEOUT_SECONDS = 1800


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


def prove(directory: Path, logs: Path, rebuild: bool, accelerator: str | None) -> int:
    """Make, boot, and give the status that the proof ends with; 1 if it does not come to that."""
    image = prepare_image(directory, PROOF, rebuild, say)
    files = {f"domains/{server.name}.xml": write_domain(server) for server in SERVERS.values()}
    files[UNIT] = (REPOSITORY / "etc" / UNIT).read_text()
    with ThreadPoolExecutor(1) as aside:
        choosing = aside.submit(machine.choose_accelerator, image)
        with parcel(logs, files) as code:
            accelerator = accelerator or choosing.result()
            say(f"booting a host with two NUMA nodes, with {accelerator.upper()}")
            machine.run(image, accelerator, code, logs, say, TIMEOUT_SECONDS)
    status = logs / "results" / STATUS
    if not status.exists():
        end = "\n".join((logs / "console").read_text(errors="replace").splitlines()[-25:])
        raise LabError(f"the emulated host ended without a result; its console ends with:\n{end}")
    return int(status.read_text())


def main() -> int:
    """Prove; 0 if every claim held, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="tools/numa-host")
    parser.add_argument("--rebuild", action="store_true", help="make the image anew")
    parser.add_argument("--accelerator", choices=("kvm", "tcg"), help="instead of KVM where it runs a kernel, else TCG")
    place = default_directory(os.environ)
    parser.add_argument("--directory", type=Path, default=place, help="where the image is kept (%(default)s)")
    words = parser.parse_args()
    start = time.monotonic()
    logs = Path(tempfile.mkdtemp(prefix="kongming-numa-host-"))
    status = 1
    try:
        with ended_by_signals():
            status = prove(words.directory, logs, words.rebuild, words.accelerator)
    except LabError as error:
        say(f"tools/numa-host: {error}")
    except (KeyboardInterrupt, SystemExit):
        status = 130
    if status == 1:
        say(f"tools/numa-host: it did not hold; the logs are in {logs}")
    else:
        shutil.rmtree(logs)
    say(f"{time.monotonic() - start:.0f} s in all")
    return status


if __name__ == "__main__":
    sys.exit(main())

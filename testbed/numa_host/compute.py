# SPDX-License-Identifier: Apache-2.0
"""libvirtd of a compute host in the emulated machine, inside, in the host's namespaces.

``python -m testbed.numa_host.compute UUID [hook]`` becomes it. With the word hook KongMing's hook is installed
before, as libvirt looks for hooks when it starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testbed.lab.libvirtd import FOLDERS, add_debian_user, configure
from testbed.numa_host.image import PARCEL

SITE_PROGRAMS = PARCEL / "site/bin"
"""The package's own programs."""


def main() -> None:
    """Write libvirt's files, and start it."""
    host_uuid, *more = sys.argv[1:]
    configure(FOLDERS["etc"], f'host_uuid = "{host_uuid}"\n')
    scratch = Path("/run/kongming-host")
    scratch.mkdir(exist_ok=True)
    add_debian_user(scratch)
    if "hook" in more:
        subprocess.run(["python3", SITE_PROGRAMS / "kongming-host", "hook", "install"], check=True)
    os.execvp("libvirtd", ["libvirtd", "--config", str(FOLDERS["etc"] / "libvirtd.conf")])


if __name__ == "__main__":
    main()

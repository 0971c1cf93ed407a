# SPDX-License-Identifier: Apache-2.0
"""Reads the template file that is named, with no more memory than a few of the largest files take, and says what is
wrong with it.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from kongming_sched.cli.template.file import TemplateFile
from kongming_sched.exceptions import InvalidTemplateFile

HEADROOM = 256 << 20
"""In bytes, over what the program itself has taken so far."""


def main() -> None:
    """Read, and print the error."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + HEADROOM, taken + HEADROOM))
    try:
        TemplateFile(sys.argv[1])
    except InvalidTemplateFile as error:
        print(error)


if __name__ == "__main__":
    main()

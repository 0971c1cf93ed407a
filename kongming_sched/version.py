# SPDX-License-Identifier: Apache-2.0
"""Which version of KongMing runs."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "kongming-sched"
"""The name of the package as pip knows it."""

UNKNOWN = "unknown"


def installed() -> str:
    """The version as pip knows it: ``1.0.0`` of a release, ``1.0.0.dev12`` of a checkout on the way to it.

    ``unknown`` where the code was unpacked and not installed, for only an installation has a version.
    """
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def line() -> str:
    """What ``--version`` prints, for argparse, which puts the name of the program in."""
    return f"%(prog)s {installed()}"

# SPDX-License-Identifier: Apache-2.0
"""The words that a template chooses among, which :mod:`kongming_sched.template` has too."""

from __future__ import annotations

from kongming_sched.compat import StrEnum


class CpuPolicy(StrEnum):
    """What the vCPUs of a cell run on."""

    DEDICATED = "dedicated"
    """One host CPU each, of the node's dedicated pool, which nobody else uses."""
    SHARED = "shared"
    """All host CPUs of the node's shared pool, together with other servers."""
    EXPLICIT = "explicit"
    """The host CPUs that the template names."""


class ThreadPolicy(StrEnum):
    """How dedicated vCPUs lie on hardware threads, as Nova's hw:cpu_thread_policy means the words."""

    ANY = "any"
    """On whatever threads are left."""
    PREFER = "prefer"
    """On siblings if that is possible."""
    REQUIRE = "require"
    """On siblings, filling whole cores that nobody else uses; the host must have SMT."""
    ISOLATE = "isolate"
    """Each on a core of its own, whose other threads stay idle."""


class CachePolicy(StrEnum):
    """In how many last-level caches the cores of a cell lie."""

    ANY = "any"
    """In one where that needs no move of another server, else in several."""
    ONE = "one"
    """In one, for which others move. The thread policy must be ``require`` or ``isolate``."""


class DevicePolicy(StrEnum):
    """Where the devices are that Nova passes through to a server."""

    ANY = "any"
    """Where Nova finds them, by the policy of the flavor or the image."""
    LOCAL = "local"
    """On the NUMA nodes of the server's cells only."""


class MemoryPolicy(StrEnum):
    """Where the guest's memory may lie."""

    STRICT = "strict"
    """On the NUMA nodes of the guest's vCPUs only."""
    NONE = "none"
    """Anywhere."""


class EmulatorPolicy(StrEnum):
    """Where QEMU's own threads run."""

    SHARED = "shared"
    """On the host's housekeeping CPUs."""
    CELL = "cell"
    """On the CPUs of the vCPUs."""
    OWN = "own"
    """On a dedicated host CPU of their own, on the first cell's node; a whole core if that cell takes whole cores."""


class HourlyEmulator(StrEnum):
    """Where QEMU's own threads run in a period: the words of EmulatorPolicy for which nothing more is claimed."""

    SHARED = "shared"
    """On the host's housekeeping CPUs."""
    CELL = "cell"
    """On the CPUs of the vCPUs."""


class GuestNuma(StrEnum):
    """What the guest sees of the NUMA nodes that its cells are on."""

    HIDDEN = "hidden"
    """One node, however many cells there are."""
    VISIBLE = "visible"
    """A node for each cell, with the cell's vCPUs and its share of the memory."""


class Override(StrEnum):
    """What a server's own metadata may replace."""

    DENIED = "denied"
    """Nothing."""
    PINS = "pins"
    """The pins. The server keeps its template, with its ``qos``."""
    ALLOWED = "allowed"
    """The pins, and the template by another one that is open as well: with the other's ``qos``, or with none."""

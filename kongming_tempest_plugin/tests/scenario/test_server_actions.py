# SPDX-License-Identifier: Apache-2.0
"""Servers of every kind of template through every action of the API."""

from __future__ import annotations

from kongming_tempest_plugin.tests.scenario import base


class DedicatedAnyTest(base.ServerActionsBase):
    """A vCPU with a host CPU of its own."""

    kind = "any"


class DedicatedPreferTest(base.ServerActionsBase):
    """A vCPU with a host CPU of its own, on sibling threads where possible."""

    kind = "prefer"


class DedicatedRequireTest(base.ServerActionsBase):
    """Two vCPUs on the hardware threads of one core."""

    kind = "require"


class DedicatedIsolateTest(base.ServerActionsBase):
    """A vCPU with a core of its own."""

    kind = "isolate"


class SharedTest(base.ServerActionsBase):
    """A vCPU in the shared pool of a node."""

    kind = "shared"


class ExplicitTest(base.ServerActionsBase):
    """A vCPU on host CPUs that the template names."""

    kind = "explicit"


class TwoCellsTest(base.ServerActionsBase):
    """A server on two NUMA nodes of a host."""

    kind = "two_cells"

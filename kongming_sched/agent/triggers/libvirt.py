# SPDX-License-Identifier: Apache-2.0
"""Starts a pass when a server started, stopped, moved or was tuned, by libvirt's events, or when libvirtd has gone."""

from __future__ import annotations

from kongming_sched.agent.triggers.base import Trigger


class LibvirtTrigger(Trigger):
    """Listens to the hypervisor's events."""

    def start(self) -> None:
        """Listen."""
        self.context.events.listener = self.context.wake

    def stop(self) -> None:
        """Listen no more."""
        self.context.events.listener = None

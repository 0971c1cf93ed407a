# SPDX-License-Identifier: Apache-2.0
"""The agent on a compute node: observes, plans, and pins through libvirt."""

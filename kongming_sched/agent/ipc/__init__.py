# SPDX-License-Identifier: Apache-2.0
"""The socket between the agent, libvirt's hook and the commands."""

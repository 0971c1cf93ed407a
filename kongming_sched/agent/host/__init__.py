# SPDX-License-Identifier: Apache-2.0
"""The edges: libvirt, and the kernel's files."""

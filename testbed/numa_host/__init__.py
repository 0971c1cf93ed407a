# SPDX-License-Identifier: Apache-2.0
"""A host with two NUMA nodes, emulated on any machine, and the proof of KongMing that runs inside it."""

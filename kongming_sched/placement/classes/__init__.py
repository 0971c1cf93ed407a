# SPDX-License-Identifier: Apache-2.0
"""Servers that have another template than their flavor's: their records, their claims, and the nodes of their cells."""

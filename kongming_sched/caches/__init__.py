# SPDX-License-Identifier: Apache-2.0
"""Cells of which all cores lie in one last-level cache: how many fit, and which cache each gets."""

# SPDX-License-Identifier: Apache-2.0
"""Tests of cells in one last-level cache."""

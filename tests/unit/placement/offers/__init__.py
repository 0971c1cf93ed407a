# SPDX-License-Identifier: Apache-2.0
"""Tests of what nodes have to offer."""

# SPDX-License-Identifier: Apache-2.0
"""Servers that have another template than their flavor's: which they are, and how that is changed."""

# SPDX-License-Identifier: Apache-2.0
"""Triggers say when to look, and nothing else: the look finds out what is to be done."""

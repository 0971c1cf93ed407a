# SPDX-License-Identifier: Apache-2.0
"""Texts of others, read within limits and made fit to be shown, and words for messages."""

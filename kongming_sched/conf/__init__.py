# SPDX-License-Identifier: Apache-2.0
"""Options, one file per group. Nothing here reads a value."""

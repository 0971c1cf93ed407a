# SPDX-License-Identifier: Apache-2.0
"""Options, one module per group. Nothing here reads a value."""

# SPDX-License-Identifier: Apache-2.0
"""What only reads the host, for commands and for --check."""

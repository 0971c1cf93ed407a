# SPDX-License-Identifier: Apache-2.0
"""What should be, and how to get there. Pure."""

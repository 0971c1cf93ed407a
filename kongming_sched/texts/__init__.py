# SPDX-License-Identifier: Apache-2.0
"""What others wrote or named: read within limits, and fit to be shown."""

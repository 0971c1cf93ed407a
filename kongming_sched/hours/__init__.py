# SPDX-License-Identifier: Apache-2.0
"""What holds by the clock: templates at a moment, and when that changes. Pure: it asks no clock itself."""

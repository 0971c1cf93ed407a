# SPDX-License-Identifier: Apache-2.0
"""Values that the rooms of the agent share."""

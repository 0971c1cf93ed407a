# SPDX-License-Identifier: Apache-2.0
"""What KongMing keeps in Placement, and the only way there."""

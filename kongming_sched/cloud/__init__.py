# SPDX-License-Identifier: Apache-2.0
"""What commands and kongming-status read of the cloud, and what follows from it."""

# SPDX-License-Identifier: Apache-2.0
"""kongming-status: whether a cloud is ready for KongMing, and for the next release of it."""

# SPDX-License-Identifier: Apache-2.0
"""Nova's own functional tests, run without KongMing and with it, and compared: what tools/peers runs."""

# SPDX-License-Identifier: Apache-2.0
"""KongMing's weighers for Nova's scheduler."""

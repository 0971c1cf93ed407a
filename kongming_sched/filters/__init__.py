# SPDX-License-Identifier: Apache-2.0
"""KongMing's filters for Nova's scheduler."""

# SPDX-License-Identifier: Apache-2.0
"""KongMing: exact CPU and NUMA placement for OpenStack servers."""

# SPDX-License-Identifier: Apache-2.0
"""What tools, benchmarks and tests run: clouds, hosts and guests on this machine."""

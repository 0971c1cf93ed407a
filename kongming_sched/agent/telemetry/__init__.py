# SPDX-License-Identifier: Apache-2.0
"""What the agent reports to Prometheus, to systemd and in its log."""

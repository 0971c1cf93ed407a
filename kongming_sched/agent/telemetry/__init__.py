# SPDX-License-Identifier: Apache-2.0
"""What the agent tells Prometheus, systemd and its log."""

# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on one machine: ``python -m testbed.cloud up|down|status|run``, which tools/cloud runs."""

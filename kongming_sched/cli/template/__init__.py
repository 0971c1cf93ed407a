# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming template``: its commands, and what they share."""

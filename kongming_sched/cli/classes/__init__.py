# SPDX-License-Identifier: Apache-2.0
"""What ``openstack kongming server set`` does with templates: of one server, and of many."""

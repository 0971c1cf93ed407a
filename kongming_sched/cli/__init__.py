# SPDX-License-Identifier: Apache-2.0
"""The ``openstack kongming`` commands, a plug-in of OpenStackClient."""

# SPDX-License-Identifier: Apache-2.0
"""``openstack kongming report``: a page of the whole cloud."""

# SPDX-License-Identifier: Apache-2.0
"""What the nodes of a host have to offer to templates: parts of tree.py."""

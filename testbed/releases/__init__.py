# SPDX-License-Identifier: Apache-2.0
"""What tools/releases and tools/peers run in environments of other releases of OpenStack."""

# SPDX-License-Identifier: Apache-2.0
"""What every request to an API of OpenStack has in common: how it fails, how long it may take, where a list ends."""

# SPDX-License-Identifier: Apache-2.0
"""What single calls answer."""

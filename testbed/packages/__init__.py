# SPDX-License-Identifier: Apache-2.0
"""What tools/package asks of the packages that it builds."""

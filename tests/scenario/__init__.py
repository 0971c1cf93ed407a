# SPDX-License-Identifier: Apache-2.0
"""What happens to servers of templates on real clouds, as tools/scenario runs it.

No scenario has servers that boot from a volume: Cinder's LVM needs the kernel's device mapper, which machines that are
containers or small virtual machines often lack, as those on which these tests run do.
"""

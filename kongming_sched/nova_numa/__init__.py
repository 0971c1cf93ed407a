# SPDX-License-Identifier: Apache-2.0
"""What Nova is asked for, where it lays servers out on NUMA nodes itself beside a template."""

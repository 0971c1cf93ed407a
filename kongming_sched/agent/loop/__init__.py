# SPDX-License-Identifier: Apache-2.0
"""The agent's loop: observe, decide, act."""

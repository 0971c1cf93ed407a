# SPDX-License-Identifier: Apache-2.0
"""Triggers start a pass of the agent's loop, and no more: the pass finds out what is to be done."""

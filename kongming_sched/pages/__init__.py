# SPDX-License-Identifier: Apache-2.0
"""What the pages of the agent and of the commands have in common: the frame of a document, its look, and its file."""

# SPDX-License-Identifier: Apache-2.0
"""What the HTML pages of the agent and of the commands share: the frame of a document, its style, and its file."""

# SPDX-License-Identifier: Apache-2.0
"""Reads the cloud for the commands and kongming-status: clients, and what follows from what they read."""

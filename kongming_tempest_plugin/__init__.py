# SPDX-License-Identifier: Apache-2.0
"""Tempest's plug-in: what KongMing promises, seen through the API of a cloud that runs it."""

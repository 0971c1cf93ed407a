# SPDX-License-Identifier: Apache-2.0
"""Tests with Nova's own services in one process: API, conductor, scheduler, and compute over a fake libvirt."""

from __future__ import annotations

from unittest import mock

with mock.patch.dict("os.environ", OS_NOVA_DISABLE_EVENTLET_PATCHING="1"):  # else they patch this process
    import nova.tests.functional
    import nova.tests.unit  # noqa: F401

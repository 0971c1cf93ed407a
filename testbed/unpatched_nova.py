# SPDX-License-Identifier: Apache-2.0
"""Import this before all else of Nova's tests: their packages would put green threads into this process."""

from __future__ import annotations

from unittest import mock

with mock.patch.dict("os.environ", OS_NOVA_DISABLE_EVENTLET_PATCHING="1"):
    import nova.tests.functional
    import nova.tests.unit  # noqa: F401

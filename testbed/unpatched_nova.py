# SPDX-License-Identifier: Apache-2.0
"""Import this before all else of Nova's tests: their packages would put green threads into this process.

Where the scheduler has green threads they are there already. Nova 32 would refuse to be without them then.
"""

from __future__ import annotations

from unittest import mock

from testbed.releases import fixtures

with mock.patch.dict("os.environ", {} if fixtures.runs_on_eventlet() else {"OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"}):
    import nova.tests.functional
    import nova.tests.unit  # noqa: F401

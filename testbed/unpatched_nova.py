# SPDX-License-Identifier: Apache-2.0
"""Import this before all else of Nova's tests: their packages would put green threads into this process.

Where Nova's fixtures need green threads they are there already, and Nova would then refuse to be without them.
"""

from __future__ import annotations

from unittest import mock

from testbed.releases import fixtures

with mock.patch.dict("os.environ", {} if fixtures.runs_on_eventlet() else {"OS_NOVA_DISABLE_EVENTLET_PATCHING": "1"}):
    import nova.tests.functional
    import nova.tests.unit  # noqa: F401

# SPDX-License-Identifier: Apache-2.0
"""Functional tests of the agent; what assertions of the shared modules compare is shown too."""

import pytest

pytest.register_assert_rewrite("tests.functional.agent.story")

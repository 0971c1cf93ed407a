# SPDX-License-Identifier: Apache-2.0
"""Does what the quick start of the documents says: ``python -m tests.quickstart``, which tools/quickstart runs."""

# SPDX-License-Identifier: Apache-2.0
"""Does what the quick start of the documents says: ``python -m testbed.quickstart``, which tools/quickstart runs."""

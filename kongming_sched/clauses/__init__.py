# SPDX-License-Identifier: Apache-2.0
"""What a template can say: how a clause is declared, and the kinds of values that clauses have."""

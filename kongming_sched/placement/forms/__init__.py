# SPDX-License-Identifier: Apache-2.0
"""How the values of clauses stand in traits: a form for each kind of values."""

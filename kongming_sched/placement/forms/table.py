# SPDX-License-Identifier: Apache-2.0
"""Which form belongs to which kind of values."""

from __future__ import annotations

from typing import Any

from kongming_sched.clauses.clause import Clause, Kind
from kongming_sched.clauses.hours import Days, TimeOfDay, Zone
from kongming_sched.clauses.kinds import Choice, Cpus, Number
from kongming_sched.clauses.pins import Pins
from kongming_sched.clauses.text import Text
from kongming_sched.placement.forms.cpus import CpusForm, PinsForm, VcpuQuotasForm
from kongming_sched.placement.forms.form import Form
from kongming_sched.placement.forms.hours import DaysForm, TimeForm
from kongming_sched.placement.forms.plain import NumberForm, WordForm
from kongming_sched.placement.forms.text import TextForm
from kongming_sched.qos import VcpuQuotas

FORMS: dict[type[Kind[Any]], Form] = {
    Choice: WordForm(),
    Number: NumberForm(),
    Cpus: CpusForm(),
    Pins: PinsForm(),
    VcpuQuotas: VcpuQuotasForm(),
    Text: TextForm(),
    Days: DaysForm(),
    TimeOfDay: TimeForm(),
    Zone: TextForm(),
}
"""The form of each kind that stands in traits of its own."""


def form_of(clause: Clause) -> Form:
    """The form of a clause's value.

    :raises TypeError: naming the clause, if there is none for values of its kind
    """
    try:
        return FORMS[type(clause.kind)]
    except KeyError:
        kind = type(clause.kind).__name__
        raise TypeError(f"clause {clause.name} is of the kind {kind}, which has no form in {__name__}.FORMS") from None

# SPDX-License-Identifier: Apache-2.0
"""The JSON schemas of templates, made from their clauses.

What programs read are the files beside this module, which a test compares with what is made here. To write them anew:
``KONGMING_RENEW=1 pytest tests/unit/schemas``.
"""

from __future__ import annotations

from kongming_sched.clauses.clause import Clause, Schema, clauses_of
from kongming_sched.clauses.kinds import CPU_SET_DEFINITION, object_schema, or_null
from kongming_sched.template import PinningTemplate

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def file_schema(template: type[PinningTemplate] = PinningTemplate) -> Schema:
    """What a file may have for a template: the schema ``template-v1``."""
    return {
        "$schema": _DRAFT,
        "$id": "urn:kongming:template-v1",
        "title": "KongMing template, version 1",
        **object_schema(template),
        "description": "One template, as 'openstack kongming template create' takes it; a file may also hold a list of"
        " them. Some rules no schema can say, and the command checks them too: that the cells' vCPUs are disjoint and"
        " without a gap, that no host CPU and no node stands in two cells, that each vCPU of an explicit cell has pins,"
        " that a set leaves some CPU and no range runs backwards, that a quota is for a vCPU that there is, that all"
        " cells have pages of one size, in several cells only with guest_numa: visible, that with either of them, or"
        " with realtime or devices: local, memory is strict and, where the guest sees its nodes, the cells stand in"
        " ascending order of theirs, that devices are local in all cells or in none, that shared vCPUs are some of"
        " their cell and not all, that real-time vCPUs have a host CPU each and leave one for QEMU's own threads,"
        " that a cell in one cache takes whole cores, and that periods are of one time zone that there is, last for"
        " some time, say what is other then, do not overlap, and leave emulator out where the template's is own.",
        "$defs": {"cpu_set": CPU_SET_DEFINITION},
    }


def printed_schema(template: type[PinningTemplate] = PinningTemplate) -> Schema:
    """What commands print of a template's clauses: the schema ``template-printed-v1``."""
    return {
        "$schema": _DRAFT,
        "$id": "urn:kongming:template-printed-v1",
        "title": "Clauses of a template, as commands print them",
        "description": "A part of what commands print of templates. The values are as in template-v1; of a cell what is"
        " as by default may be left out.",
        "type": "object",
        "properties": {clause.name: _printed(clause) for clause in clauses_of(template)},
    }


def _printed(clause: Clause) -> Schema:
    schema = clause.kind.printed_schema()
    return or_null(schema) if clause.default is None else schema

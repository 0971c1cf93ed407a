# SPDX-License-Identifier: Apache-2.0
"""Nova and Placement agree about a server, or it is said where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongming_sched.placement import names
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.template import PinningTemplate
from kongming_tempest_plugin.templates import CELLS, make_template
from kongming_tempest_plugin.view import Claim, View, faults, leftovers

HERE = "11111111-1111-1111-1111-111111111111"
THERE = "22222222-2222-2222-2222-222222222222"
MEMORY_MB = 64
THREADS = 2


def template_of(kind: str) -> PinningTemplate:
    """A template of a kind."""
    template = make_template(kind, "tried", "6-7")
    assert template
    return template


def node(template: PinningTemplate, cell: int, number: int, root: str = HERE) -> Claim:
    """What a cell takes, on a node of a host."""
    request = cell_requests(template, MEMORY_MB, THREADS)[cell]
    traits = {names.HW_NUMA_ROOT, names.node_trait(number), names.smt_trait(THREADS), *request.required}
    return Claim(names.node_uuid(root, number), root, frozenset(traits), request.resources)


def rest(root: str = HERE, **more: int) -> Claim:
    """What a server takes of the compute node itself."""
    return Claim(root, root, frozenset({"COMPUTE_NODE"}), {"MEMORY_MB": MEMORY_MB, "DISK_GB": 1, **more})


def view_of(template: PinningTemplate) -> View:
    """A server that is as it should be: cell i is on node i."""
    cells = [node(template, index, index) for index in range(len(template.cells))]
    return View("host", HERE, (rest(), *cells))


def wrong(view: View, kind: str = "any") -> list[str]:
    """The faults of a server of a kind of template."""
    return faults(view, template_of(kind), MEMORY_MB, THREADS)


@pytest.mark.parametrize("kind", CELLS)
def test_a_server_that_is_right_has_no_faults(kind: str) -> None:
    """Each cell has its amount on a node of the host, in whichever order Placement lists them."""
    view = view_of(template_of(kind))
    assert ([], []) == (wrong(view, kind), wrong(replace(view, claims=view.claims[::-1]), kind))


def test_a_host_without_a_provider_is_a_fault() -> None:
    """Nova names a hypervisor that Placement does not know."""
    assert ["Nova says that it is on host, of which Placement has no resource provider"] == wrong(
        replace(view_of(template_of("any")), root="")
    )


def test_a_node_of_another_host_is_a_fault() -> None:
    """The server has moved and its claim has not, or the other way round."""
    view = View("host", HERE, (rest(), node(template_of("any"), 0, 0, THERE)))
    assert 2 == len(wrong(view))
    assert "of another host" in wrong(view)[0]


def test_a_second_claim_elsewhere_is_a_fault() -> None:
    """As after a move that gave nothing back; disks alone may lie on a provider that hosts share."""
    right = view_of(template_of("any"))
    storage = Claim(THERE, THERE, frozenset(), {"DISK_GB": 1})
    found = [wrong(replace(right, claims=(*right.claims, more))) for more in (rest(THERE), storage)]
    assert (1, 0) == (len(found[0]), len(found[1]))


def test_a_server_without_a_node_is_a_fault() -> None:
    """It would float wherever it likes."""
    assert 1 == len(wrong(View("host", HERE, (rest(),))))


def test_a_node_too_many_is_a_fault() -> None:
    """It has what nobody asked for."""
    template = template_of("any")
    view = View("host", HERE, (rest(), node(template, 0, 0), node(template, 0, 1)))
    assert ["node 1 of host gives 64 CUSTOM_KONGMING_MEMORY_MB, 1 CUSTOM_KONGMING_PCPU, unasked"] == wrong(view)


def test_two_cells_on_one_node_are_a_fault() -> None:
    """Each was to have its own; together they are one claim of twice as much."""
    one = node(template_of("two_cells"), 0, 0)
    double = replace(one, resources={name: 2 * amount for name, amount in one.resources.items()})
    assert 3 == len(wrong(View("host", HERE, (rest(), double)), "two_cells"))


@pytest.mark.parametrize("change", [{names.PCPU: 2}, {names.MEMORY_MB: 32}, {names.VCPU: 1}])
def test_other_amounts_are_a_fault(change: dict[str, int]) -> None:
    """More or less than the flavor says, or something else beside it."""
    claim = node(template_of("any"), 0, 0)
    changed = replace(claim, resources={**claim.resources, **change})
    assert 2 == len(wrong(View("host", HERE, (rest(), changed))))


def test_a_node_that_does_not_offer_the_template_is_a_fault() -> None:
    """By what authority is the server there?"""
    claim = node(template_of("any"), 0, 0)
    silent = replace(claim, traits=claim.traits - {names.template_trait("tried")})
    assert 2 == len(wrong(View("host", HERE, (rest(), silent))))


def test_a_provider_that_only_says_that_it_is_the_node_is_a_fault() -> None:
    """The id of a node's provider follows from its host and number."""
    claim = replace(node(template_of("any"), 0, 0), provider=THERE)
    assert f"provider {THERE} is not node 0 of host, as its trait says" == wrong(View("host", HERE, (rest(), claim)))[0]


def test_cpus_of_the_compute_node_itself_are_a_fault() -> None:
    """They would be counted twice."""
    view = View("host", HERE, (rest(VCPU=1), node(template_of("any"), 0, 0)))
    assert ["it takes 1 VCPU of the compute node itself"] == wrong(view)


def test_what_migrations_still_have_is_named() -> None:
    """After a move was confirmed or reverted they have nothing."""
    view = replace(view_of(template_of("any")), left_over={"migration-1": {THERE: {names.PCPU: 1}}})
    assert [f"migration migration-1 still has 1 {names.PCPU} of {THERE}"] == leftovers(view)
    assert [] == leftovers(view_of(template_of("any")))

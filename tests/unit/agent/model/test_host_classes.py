# SPDX-License-Identifier: Apache-2.0
"""Which template a guest has by its class, its flavor and its claim."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kongming_sched.agent.model.flavor_copy import FlavorCopy
from kongming_sched.agent.model.guest import Domain, Identity, RunningGuest
from kongming_sched.agent.model.host_classes import HostClasses
from kongming_sched.placement import names
from kongming_sched.placement.classes.records import ServerClass
from kongming_sched.placement.flavor import cell_requests
from kongming_sched.placement.tree import NodeState
from kongming_sched.request import PinningRequest
from tests.unit.agent.hosts import MEMORY_MB, TEMPLATES, host

SERVER, OTHER, MARK = "a", "b", 7
GOLD = PinningRequest("gold", cell_requests(TEMPLATES["gold"], MEMORY_MB, 2))
"""Two dedicated vCPUs, as the flavor says; the template cores takes as much."""
CORES = cell_requests(TEMPLATES["cores"], MEMORY_MB, 2)[0].resources
GOLDS = GOLD.cells[0].resources


def classes(template: str = "bronze", mark: int = MARK, **claims: Mapping[str, int]) -> HostClasses:
    """A host on whose first node consumers have claimed; the server is of a class."""
    states = host().states_by_node()
    states[0] = NodeState(
        states[0].uuid, states[0].name, 1, states[0].traits, states[0].inventories, allocations=claims
    )
    return HostClasses({names.class_consumer(SERVER): ServerClass(template, mark)}, TEMPLATES, states)


def identity(request: PinningRequest | None) -> Identity:
    """A guest of a flavor."""
    return Identity("web", 2, request, flavor=FlavorCopy(MARK, MEMORY_MB))


def template_of(found: HostClasses, request: PinningRequest | None) -> str | None:
    """The template that the server has."""
    applied = found.apply(SERVER, identity(request), [SERVER])
    return applied.request.template if applied.request else None


@pytest.mark.parametrize("request_of", [GOLD, None], ids=["a flavor of a template", "an ordinary flavor"])
def test_by_its_claim(request_of: PinningRequest | None) -> None:
    """It has the template of its class once it has claimed that, and until then that of its flavor."""
    flavors = request_of.template if request_of else None
    assert "large" == template_of(classes("large", a=_of("large")), request_of)
    assert flavors == template_of(classes("large", a=GOLDS) if request_of else classes("large"), request_of)
    assert flavors == template_of(classes("large", mark=8, a=_of("large")), request_of)


def _of(template: str) -> Mapping[str, int]:
    return cell_requests(TEMPLATES[template], MEMORY_MB, 2)[0].resources


def test_a_claim_of_its_migration() -> None:
    """While Nova moves it, another consumer has what it has claimed; that of a running guest is not its."""
    found = classes("large", b=_of("large"))
    assert "large" == template_of(found, None)
    applied = found.apply(SERVER, identity(None), [SERVER, OTHER])
    assert applied.request is None


@pytest.mark.parametrize("template", ["large", "gone"])
def test_another_claim(template: str) -> None:
    """A claim of something else is shown as it is, with the template of the class, for which it is reported."""
    applied = classes(template, a={names.PCPU: 9}).apply(SERVER, identity(GOLD), [SERVER])
    assert applied.request is not None
    assert (template, [{names.PCPU: 9}]) == (
        applied.request.template,
        [cell.resources for cell in applied.request.cells],
    )


def test_twice_is_once() -> None:
    """What it made of a guest it takes as what the flavor says, whatever the class is by now."""
    first = classes("large", a=_of("large")).apply(SERVER, identity(None), [SERVER])
    assert first == classes("large", a=_of("large")).apply(SERVER, first, [SERVER])
    assert identity(None) == HostClasses().apply(SERVER, first, [SERVER])


def find(found: HostClasses, request: PinningRequest | None) -> object:
    """How the server gets back to its class: the nodes, or why not, or nothing."""
    applied = found.apply(SERVER, identity(request), [SERVER])
    way = found.find_return(RunningGuest(Domain(SERVER, "web", ""), applied), [SERVER])
    return way and (way.place.nodes if way.place else way.reason)


def test_return() -> None:
    """Where Nova has claimed by the flavor, on the node that it is on if that has room."""
    assert (0, 1) == find(classes("twin", a=GOLDS), GOLD)
    assert "it has 2 vCPUs and the template has 4" == find(classes("pairs", a=GOLDS), GOLD)
    assert "it does not exist or is not offered to this host" == find(classes("gone", a=GOLDS), GOLD)


@pytest.mark.parametrize(
    ("found", "request_of"),
    [
        pytest.param(classes("twin", mark=8, a=GOLDS), GOLD, id="no class"),
        pytest.param(classes("cores", a=CORES), GOLD, id="has it"),
        pytest.param(classes("large"), GOLD, id="has claimed elsewhere"),
        pytest.param(classes("large", a={names.PCPU: 9}), GOLD, id="has claimed for another flavor"),
        pytest.param(classes("large", migration=_of("large")), None, id="is being moved"),
        pytest.param(classes("large", a=GOLDS, migration=_of("large")), GOLD, id="is being resized here"),
    ],
)
def test_no_return(found: HostClasses, request_of: PinningRequest | None) -> None:
    """Nothing is done for a server that has its class, or that Nova is moving."""
    assert find(found, request_of) is None

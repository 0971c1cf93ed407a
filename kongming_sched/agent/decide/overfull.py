# SPDX-License-Identifier: Apache-2.0
"""Memory and huge pages of which servers have claimed more than a node has by now. Pure.

A node gets less to give while the agent runs when its pools of huge pages change. Of CPUs the layout says which servers
have no place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.page_sizes import size_name
from kongming_sched.placement import names
from kongming_sched.placement.tree import DesiredNode, DesiredTree, NodeState


def find_overfull(tree: DesiredTree, states: Mapping[str, NodeState]) -> list[Problem]:
    """A problem for each node of which servers have claimed more memory or huge pages than it has to give.

    :param states: the node providers as they are, by id
    """
    problems = []
    for node in tree.nodes:
        number = next((id for trait in node.traits if (id := names.node_id_of(trait)) is not None), None)
        state = states.get(node.uuid)
        if state is None or number is None or node.is_retired:
            continue
        if words := "; ".join(_overfull(node, state)):
            text = f"{words}: migrate servers away, or change its pools of huge pages"
            problems.append(Problem(Reason.OVERFULL, Subject(SubjectKind.NODE, str(number)), text))
    return problems


def _overfull(node: DesiredNode, state: NodeState) -> Iterator[str]:
    for name, inventory in sorted(node.inventories.items()):
        size_kib, used = names.page_size_of(name), state.used(name)
        if used > inventory.capacity and (name == names.MEMORY_MB or size_kib):
            what = f"huge pages of {size_name(size_kib)}" if size_kib else "MiB of memory"
            yield f"servers have claimed {used} {what}, and it has {inventory.capacity} to give"

# SPDX-License-Identifier: Apache-2.0
"""Reads the node providers of a host, and makes Placement hold the desired ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kongming_sched import exceptions
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient, Provider
from kongming_sched.placement.tree import DesiredNode, NodeState
from kongming_sched.texts.whole_number import NODE_IDS, find_whole_number


class NodeRegistry:
    """The node providers of one host. While nothing changes, reading them costs one request, and one for each node.

    Traits and inventories are read again when the provider's generation has changed. Allocations are read every time:
    Placement raises no generation when they are deleted, as Nova deletes those of a server.

    :param machine: the mark of the machine that the host is, which its nodes get as a trait; empty to give them none,
        and not to ask whose they are
    """

    def __init__(self, client: PlacementClient, root_name: str, machine: str = "") -> None:
        self._client = client
        self._root_name = root_name
        self._machine = machine
        self._seen: dict[str, NodeState] = {}
        self._root: Provider | None = None
        self._aggregates: frozenset[str] = frozenset()

    def observe(self) -> tuple[Provider, frozenset[str], dict[str, NodeState]]:
        """The host's root provider, its aggregates, and its node providers by id.

        :raises ProviderNotFound: if nova-compute has not registered this host (yet)
        :raises AnotherMachine: if the nodes are those of another machine
        """
        root = self._read_root()
        providers = self._client.providers(in_tree=root.uuid)
        fresh = next((provider for provider in providers if provider.uuid == root.uuid), None)
        if fresh is None:  # the compute service was deleted, and may be registered again under another id
            self._root = None
            raise exceptions.ProviderNotFound(f"find provider {self._root_name}", "it does not exist any more")
        if self._root is None or fresh.generation != self._root.generation:
            self._aggregates = self._client.aggregates(root.uuid)
            self._root = fresh
        mine = [provider for provider in providers if _is_node(provider, fresh)]
        states = {provider.uuid: self._state(provider) for provider in mine}
        self._seen = states
        self._refuse_another_machine(states.values())
        return fresh, self._aggregates, states

    def write(self, root: Provider, nodes: Iterable[DesiredNode], current: Mapping[str, NodeState]) -> list[str]:
        """Make Placement hold the desired nodes, and describe each change in a line.

        Each request leaves Placement in a state that is safe to schedule on and that the next call completes: a trait
        is removed before the inventory that it offers, and set after it.

        :raises PlacementConflict: if another client has written meanwhile; observe again
        """
        changes: list[str] = []
        for desired in nodes:
            node = self._marked(desired)
            state = current.get(node.uuid)
            if state is not None and state.traits == node.traits and state.inventories == node.inventories:
                continue
            self._client.ensure_traits(node.traits)
            self._client.ensure_resource_classes(node.inventories.keys() - (state.inventories if state else {}).keys())
            if state is None:
                provider = self._client.create_provider(node.uuid, node.name, root.uuid)
                state = NodeState(node.uuid, node.name, provider.generation)
                changes.append(f"created {node.name}")
            changes += self._write_node(node, state)
        return changes

    def _refuse_another_machine(self, states: Iterable[NodeState]) -> None:
        """Refuse nodes that another machine has marked; those without a mark are free to be taken."""
        marks = {mark for state in states for trait in state.traits if (mark := names.machine_of(trait))}
        others = sorted(marks - {self._machine})
        if self._machine and others:
            raise exceptions.AnotherMachine(self._root_name, tuple(others), self._machine)

    def _marked(self, node: DesiredNode) -> DesiredNode:
        """A node with the trait of this machine."""
        if not self._machine:
            return node
        return replace(node, traits=node.traits | {names.machine_trait(self._machine)})

    def _write_node(self, node: DesiredNode, state: NodeState) -> list[str]:
        changes: list[str] = []
        generation = state.generation
        kept = state.traits & node.traits
        if kept != state.traits:
            generation = self._client.set_traits(node.uuid, generation, kept)
            changes.append(f"{node.name}: no longer {', '.join(sorted(state.traits - kept))}")
            for trait in sorted(state.traits - kept):
                if names.offered_template(trait) or names.machine_of(trait):
                    self._client.forget_trait(trait)
        if state.inventories != node.inventories:
            generation = self._client.set_inventories(node.uuid, generation, node.inventories)
            capacities = {name: inventory.capacity for name, inventory in node.inventories.items()}
            changes.append(f"{node.name}: {names.describe_amounts(capacities)}")
        if kept != node.traits:
            self._client.set_traits(node.uuid, generation, node.traits)
            changes.append(f"{node.name}: now {', '.join(sorted(node.traits - kept))}")
        return changes

    def _read_root(self) -> Provider:
        if self._root is not None:
            return self._root
        found = self._client.providers(name=self._root_name)
        if not found:
            raise exceptions.ProviderNotFound(
                f"find provider {self._root_name}",
                "nova-compute has not registered this host; start it, or set [kongming_agent] host to the name that"
                " 'openstack hypervisor list' shows",
            )
        return found[0]

    def _state(self, provider: Provider) -> NodeState:
        allocations = self._client.allocations(provider.uuid)
        seen = self._seen.get(provider.uuid)
        if seen is not None and seen.generation == provider.generation:
            return replace(seen, allocations=allocations)
        return NodeState(
            provider.uuid,
            provider.name,
            provider.generation,
            self._client.traits(provider.uuid),
            self._client.inventories(provider.uuid),
            allocations,
        )


def _is_node(provider: Provider, root: Provider) -> bool:
    """Whether a provider of the tree is one of KongMing's nodes, by its name and its derived id."""
    number = find_whole_number(provider.name.removeprefix(names.node_name(root.name, 0)[:-1]), NODE_IDS)
    return (
        provider.parent_uuid == root.uuid and number is not None and provider.uuid == names.node_uuid(root.uuid, number)
    )

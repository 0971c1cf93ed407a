# SPDX-License-Identifier: Apache-2.0
"""Reads the node providers of a host, and makes Placement hold the desired ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from kongming_sched import exceptions
from kongming_sched.placement import candidates, machines, names
from kongming_sched.placement.client import PlacementClient, Provider
from kongming_sched.placement.tree import DesiredNode, NodeState

DUPLICATE_NAME = "placement.duplicate_name"
"""Placement's error code for a name or an id that is taken."""


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
        fresh, providers = self._read_tree(self._read_root())
        if fresh is not None and fresh.name != self._root_name:  # another one may have the name by now
            self._root = None
            fresh, providers = self._read_tree(self._read_root())
        if fresh is None:  # the compute service was deleted, and may be registered again under another id
            self._root = None
            raise exceptions.ProviderNotFound(f"find provider {self._root_name}", "it does not exist any more")
        if self._root is None or fresh.generation != self._root.generation:
            self._aggregates = self._client.aggregates(fresh.uuid)
            self._root = fresh
        mine = [provider for provider in providers if is_node(provider, fresh)]
        states = {provider.uuid: self._state(provider) for provider in mine}
        self._seen = states
        self._refuse_another_machine(states.values())
        return fresh, self._aggregates, states

    def write(self, root: Provider, nodes: Iterable[DesiredNode], current: Mapping[str, NodeState]) -> list[str]:
        """Make Placement hold the desired nodes, and describe each change in a line.

        Each request leaves Placement in a state that is safe to schedule on and that the next call completes: a trait
        is removed before the inventory that it offers, and set after it.

        Nodes that have the name of an earlier root are renamed, and so are nodes of another root that have the name of
        this one: their own root was renamed, or was replaced by this one while its nodes kept it from being deleted.

        :raises PlacementConflict: if another client has written meanwhile; observe again
        """
        changes: list[str] = []
        for desired in nodes:
            node = self.complete(desired, root)
            state = current.get(node.uuid)
            if state is not None and _is_as_desired(state, node):
                continue
            self._client.ensure_traits(node.traits)
            self._client.ensure_resource_classes(node.inventories.keys() - (state.inventories if state else {}).keys())
            if state is None:
                create = partial(self._client.create_provider, node.uuid, node.name, root.uuid)
                provider, renamed = self._with_its_name(node.name, root, create)
                state = NodeState(node.uuid, node.name, provider.generation)
                changes += [*renamed, f"created {node.name}"]
            elif state.name != node.name:
                rename = partial(self._client.rename_provider, node.uuid, node.name)
                provider, renamed = self._with_its_name(node.name, root, rename)
                changes += [*renamed, f"renamed {state.name} to {node.name}"]
                state = replace(state, name=node.name, generation=provider.generation)
            changes += self._write_node(node, state)
        return changes

    def complete(self, node: DesiredNode, root: Provider) -> DesiredNode:
        """A node with the trait of this machine, and with the name that its root gives it now."""
        number = candidates.node_id(root.uuid, node.uuid)
        name = node.name if number is None else names.node_name(root.name, number)
        mark = {names.machine_trait(self._machine)} if self._machine else set()
        return replace(node, name=name, traits=node.traits | mark)

    def _refuse_another_machine(self, states: Iterable[NodeState]) -> None:
        """Refuse nodes that another machine has marked; those without a mark are free to be taken."""
        found = {mark for state in states for mark in machines.marks(state.traits)}
        others = sorted(found - {self._machine})
        if self._machine and others:
            raise exceptions.AnotherMachine(self._root_name, tuple(others), self._machine)

    def _with_its_name(
        self, name: str, root: Provider, write: Callable[[], Provider]
    ) -> tuple[Provider, tuple[str, ...]]:
        """Write a provider of this name; gives it, and what had to be done for that in words.

        A node of another root that has the name gets that of its own root, as its own agent would rename it.
        """
        try:
            return write(), ()
        except exceptions.PlacementError as error:
            if error.code != DUPLICATE_NAME:
                raise
            holder = next((found for found in self._client.providers(name=name) if found.root_uuid != root.uuid), None)
            own_name = own_node_name(self._client, holder) if holder else None
            if holder is None or own_name is None:
                raise
        self._client.rename_provider(holder.uuid, own_name)
        return write(), (f"renamed {name} of another compute node to {own_name}",)

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

    def _read_tree(self, root: Provider) -> tuple[Provider | None, list[Provider]]:
        """A root as it is now, and all providers below it; None if it is gone."""
        providers = self._client.providers(in_tree=root.uuid)
        return next((provider for provider in providers if provider.uuid == root.uuid), None), providers

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
            return replace(seen, name=provider.name, allocations=allocations)  # a new name raises no generation
        return NodeState(
            provider.uuid,
            provider.name,
            provider.generation,
            self._client.traits(provider.uuid),
            self._client.inventories(provider.uuid),
            allocations,
        )


def is_node(provider: Provider, root: Provider) -> bool:
    """Whether a provider is one of KongMing's nodes of this root, by its derived id; its name may be an earlier one."""
    return provider.parent_uuid == root.uuid and candidates.node_id(root.uuid, provider.uuid) is not None


def own_node_name(client: PlacementClient, provider: Provider) -> str | None:
    """The name that a node should have by its own root; None for a provider that is no node, or has it."""
    root = next(iter(client.providers(uuid=provider.root_uuid)), None)
    number = candidates.node_id(provider.root_uuid, provider.uuid)
    if root is None or number is None or not is_node(provider, root):
        return None
    name = names.node_name(root.name, number)
    return name if name != provider.name else None


def _is_as_desired(state: NodeState, node: DesiredNode) -> bool:
    return state.name == node.name and state.traits == node.traits and state.inventories == node.inventories

# SPDX-License-Identifier: Apache-2.0
"""Compute nodes in Placement that Nova does not know any more, and what becomes of the claims that are left there.

Nova cannot delete the provider of a compute node while KongMing's nodes are below it, and while it is there
nova-compute cannot register a host of the same name under a new id.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from kongming_sched import exceptions
from kongming_sched.cloud.compute import ComputeClient, Hypervisor, Server
from kongming_sched.cloud.hosts import COMPUTE_NODE
from kongming_sched.cloud.nodes import node_host
from kongming_sched.placement import names
from kongming_sched.placement.candidates import node_id
from kongming_sched.placement.client import Claim, PlacementClient, Provider
from kongming_sched.placement.machines import machine_traits


@dataclass(frozen=True, slots=True)
class Tree:
    """The providers of a compute node.

    :ivar root: the compute node's own
    :ivar nodes: KongMing's, by the numbers of their NUMA nodes
    :ivar others: all that are neither
    """

    root: Provider
    nodes: Mapping[int, Provider]
    others: tuple[Provider, ...]

    @property
    def uuids(self) -> frozenset[str]:
        """The ids of all of them."""
        return frozenset(item.uuid for item in (self.root, *self.nodes.values(), *self.others))


@dataclass(frozen=True, slots=True)
class Settled:
    """A claim as it is to be.

    :ivar claim: without the compute node that is gone
    :ivar server: whose it is, in words
    :ivar why: what becomes of the part that was there
    """

    claim: Claim
    server: str
    why: str


class Removal:
    """What is to be done about the compute nodes of a name that are gone, claims first.

    :ivar placement: what is written to
    :ivar changes: what is written: each a subject and what becomes of it, in words
    :ivar refusals: why nothing may be written
    :ivar left: what stays and has to be deleted by other means, as the changes

    :raises HostNotFound: if there is no such compute node
    """

    def __init__(self, placement: PlacementClient, compute: ComputeClient, host: str) -> None:
        self.changes: list[tuple[str, str]] = []
        self.refusals: list[exceptions.KongMingError] = []
        self.left: list[tuple[str, str]] = []
        self.placement = placement
        self._compute = compute
        self._hypervisors = list(compute.hypervisors())
        self._tree_of = functools.cache(functools.partial(read_tree, placement))
        self._settled: list[Settled] = []
        self._renamed: list[tuple[str, str]] = []
        self._deleted: list[str] = []
        silent = {_first_label(name) for name in compute.silent_hosts()}
        for tree in find_gone(placement, self._hypervisors, host):
            if _first_label(tree.root.name) in silent:
                error = exceptions.ComputeError(f"say whether {tree.root.name} is gone", "its cell does not answer")
                self.refusals.append(error)
            self._plan(tree)

    def carry_out(self) -> None:
        """Write it; doing it again completes what has failed."""
        for uuid, name in self._renamed:
            self.placement.rename_provider(uuid, name)
        for settled in self._settled:
            self.placement.replace_claim(settled.claim)
        for uuid in self._deleted:
            marks = sorted(machine_traits(self.placement.traits(uuid)))
            self.placement.delete_provider(uuid)
            for trait in marks:
                self.placement.forget_trait(trait)

    def _plan(self, tree: Tree) -> None:
        settled: list[Settled] = []
        is_awaited = False
        for claim in claims_on(self.placement, tree):
            try:
                found = settle(tree, claim, self._server(claim.consumer), self._hypervisors, self._tree_of)
            except exceptions.MoveRefused as error:
                self.refusals.append(error)
                continue
            if found is None:
                is_awaited = True
            else:
                settled.append(found)
        if is_awaited:
            self._rename(tree)
            return
        self._settled += settled
        self.changes += [(f"claim of {item.server}", item.why) for item in settled]
        self._delete(tree)

    def _rename(self, tree: Tree) -> None:
        """Make room for the compute node that Nova has by that name; the claims wait for it."""
        name = _name_aside(tree.root.name, tree.root)
        self._renamed.append((tree.root.uuid, name))
        self._renamed += [(node.uuid, names.node_name(name, number)) for number, node in tree.nodes.items()]
        detail = f"{tree.root.name} -> {name}; run this again once its agent has registered the new one's nodes"
        self.changes.append((f"compute node {tree.root.uuid}", detail))

    def _delete(self, tree: Tree) -> None:
        self._deleted += [node.uuid for node in tree.nodes.values()]
        self.changes += [(f"node {number}", "deleted") for number in tree.nodes]
        self._delete_sign(tree)
        subject = f"compute node {tree.root.uuid}"
        if not tree.others:
            self._deleted.append(tree.root.uuid)
            self.changes.append((subject, "deleted"))
            return
        others = ", ".join(sorted(item.name for item in tree.others))
        self.left.append((subject, f"stays, for it has providers that are not KongMing's: {others}"))

    def _delete_sign(self, tree: Tree) -> None:
        """Delete the sign of life of its agent, unless Nova has another compute node of that name, whose it is then."""
        hosts = {tree.root.name, *(node_host(node.name) for node in tree.nodes.values())}
        for host in sorted(hosts - {hypervisor.name for hypervisor in self._hypervisors}):
            signs = [item.uuid for item in self.placement.providers(name=names.agent_provider_name(host))]
            self._deleted += signs
            self.changes += [(f"sign of life of the agent of {host}", "deleted")] * len(signs)

    def _server(self, consumer: str) -> Server | None:
        try:
            return self._compute.find_server(consumer)
        except exceptions.ServerNotFound:
            return None


def find_gone(client: PlacementClient, hypervisors: Collection[Hypervisor], name: str) -> list[Tree]:
    """The compute nodes of this name or id that Nova does not know.

    :raises HostNotFound: if there is none
    """
    known = {hypervisor.id for hypervisor in hypervisors}
    found: dict[str, str] = {}
    for node in client.providers(required=names.HW_NUMA_ROOT):
        if node.root_uuid not in known and node_id(node.root_uuid, node.uuid) is not None:
            found.setdefault(node.root_uuid, node_host(node.name))
    for root in client.providers(required=COMPUTE_NODE):
        if root.uuid not in known and name in (root.uuid, root.name):
            found.setdefault(root.uuid, root.name)  # its nodes may be deleted already
    trees = [tree for uuid in found if (tree := read_tree(client, uuid)) is not None]
    wanted = [tree for tree in trees if name in (tree.root.uuid, tree.root.name, found[tree.root.uuid])]
    wanted = wanted or [tree for tree in trees if tree.root.name == _name_aside(name, tree.root)]
    if wanted:
        return wanted
    if any(name in (hypervisor.id, hypervisor.name) for hypervisor in hypervisors):
        reason = "is a compute node of Nova's, and there are no nodes of an earlier one of that name; take it out of"
        raise exceptions.HostNotFound(name, f"{reason} service with 'openstack compute service delete' first")
    raise exceptions.HostNotFound(name, "has no nodes of a compute node that is gone")


def _first_label(host: str) -> str:
    """A host's name without its domain, which the name of its compute service may lack."""
    return host.partition(".")[0]


def _name_aside(name: str, root: Provider) -> str:
    """The name of a compute node's provider that has made room for another."""
    return f"{name}-{root.uuid[:8]}"


def read_tree(client: PlacementClient, root_uuid: str) -> Tree | None:
    """The providers of a compute node; None if Placement does not have it."""
    root, nodes, others = None, {}, []
    for provider in client.providers(in_tree=root_uuid):
        number = node_id(root_uuid, provider.uuid)
        if provider.uuid == root_uuid:
            root = provider
        elif number is not None:
            nodes[number] = provider
        else:
            others.append(provider)
    return None if root is None else Tree(root, dict(sorted(nodes.items())), tuple(others))


def claims_on(client: PlacementClient, tree: Tree) -> Iterator[Claim]:
    """All claims of which a part is there, by the ids of their consumers."""
    for consumer in sorted({consumer for uuid in tree.uuids for consumer in client.allocations(uuid)}):
        claim = client.claim(consumer)
        if claim is not None:
            yield claim


def settle(
    gone: Tree,
    claim: Claim,
    server: Server | None,
    hypervisors: Collection[Hypervisor],
    tree_of: Callable[[str], Tree | None],
) -> Settled | None:
    """What a claim is to be, once a compute node is gone; None if it has to wait until Placement has its new one.

    :param server: whose it is; None if Nova does not know it
    :param tree_of: reads the providers of the compute node of an id
    :raises MoveRefused: if the server is on the compute node that is gone, or what it has there is not elsewhere
    """
    rest = {uuid: amounts for uuid, amounts in claim.resources.items() if uuid not in gone.uuids}
    if server is None:
        return Settled(replace(claim, resources=rest), claim.consumer, "dropped: Nova has no server of this id")
    words = f"{server.name} ({server.id})"
    there = next((hypervisor for hypervisor in hypervisors if hypervisor.name == server.host), None)
    if there is None:
        raise exceptions.MoveRefused(words, f"it is on {server.host or 'no host'} by Nova; evacuate or delete it first")
    tree = tree_of(there.id)
    if tree is None:
        return None
    if not tree.uuids.isdisjoint(rest):
        return Settled(replace(claim, resources=rest), words, f"dropped: it has its claim on {there.name}")
    return Settled(_moved(gone, tree, claim, words), words, f"moved to {there.name} ({there.id})")


def _moved(gone: Tree, tree: Tree, claim: Claim, server: str) -> Claim:
    """A claim on the same providers of another compute node."""
    targets = {gone.root.uuid: tree.root.uuid}
    for number, node in gone.nodes.items():
        if number in tree.nodes:
            targets[node.uuid] = tree.nodes[number].uuid
    for uuid in sorted(gone.uuids & claim.resources.keys() - targets.keys()):
        name = next(item.name for item in (*gone.nodes.values(), *gone.others) if item.uuid == uuid)
        reason = f"{tree.root.name} has nothing like {name}, where it has claimed; start kongming-agent there first"
        raise exceptions.MoveRefused(server, reason)
    resources = {targets.get(uuid, uuid): amounts for uuid, amounts in claim.resources.items()}
    return replace(claim, resources=resources)

# SPDX-License-Identifier: Apache-2.0
"""The words that KongMing uses in Placement: resource classes, traits, provider names and ids."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping

from kongming_sched import page_sizes, request
from kongming_sched.template import NAME
from kongming_sched.texts import whole_number

NODE = "CUSTOM_KONGMING_NODE"
"""Inventory of 1 that no server consumes. A question for candidates of it gives every node provider's summary."""

PCPU = "CUSTOM_KONGMING_PCPU"
"""The dedicated pool of a NUMA node, in host CPUs (hardware threads)."""

VCPU = request.VCPU_CLASS
"""The shared pool of a NUMA node, in host CPUs times its allocation ratio."""

MEMORY_MB = request.MEMORY_CLASS
"""The memory of a NUMA node outside its huge pages, in MiB."""

AGENT_SEEN = "CUSTOM_KONGMING_AGENT_SEEN"
"""When an agent gave its last sign of life, in minutes since 1970, on a provider of its own that nobody consumes."""

AGENT_SEEN_EVERY_MINUTES = 60
"""How often an agent gives a sign."""

HW_NUMA_ROOT = "HW_NUMA_ROOT"
"""The standard trait of a provider that stands for a NUMA node (os-traits)."""

TEMPLATE = "CUSTOM_KONGMING_TEMPLATE"
"""Marks a template provider."""

SERVER_CLASS = "CUSTOM_KONGMING_SERVER_CLASS"
"""On the class provider of a template: what the servers consume that have the template instead of their flavor's. The
amount is the mark of the flavor that the server had then (classes/records.py)."""

CLASS_REQUEST = "CUSTOM_KONGMING_CLASS_REQUEST"
"""Beside it: the number of the request id of the command that gave the server its class (classes/request_ids.py)."""

DISABLED = "CUSTOM_KONGMING_DISABLED"
"""On a node that takes no more servers of templates until an operator says otherwise; those that are there stay."""

_CACHE_PREFIX = "CUSTOM_KONGMING_CACHE_"
_MACHINE_PREFIX = "CUSTOM_KONGMING_MACHINE_"
_SLOT_PREFIX = "CUSTOM_KONGMING_SLOT_"
_TEMPLATE_PREFIX = "CUSTOM_KONGMING_TEMPLATE_"
_NODE_PREFIX = "CUSTOM_KONGMING_NODE_"
_SMT_PREFIX = "CUSTOM_KONGMING_SMT_"
_TEMPLATE_PROVIDER_PREFIX = "kongming_template_"
_CLASS_PROVIDER_PREFIX = "kongming_class_"
_AGENT_PROVIDER_PREFIX = "kongming_agent_"
_AGENT_NAMESPACE = uuid.UUID("6b6f6e67-6d69-5e67-8061-67656e740000")
_TEMPLATE_NAMESPACE = uuid.UUID("6b6f6e67-6d69-5e67-8074-656d706c6174")
_CLASS_NAMESPACE = uuid.UUID("6b6f6e67-6d69-5e67-8063-6c6173730000")


page_size_of = page_sizes.page_size_of


def class_of_page_size(size: str) -> str:
    """The resource class of which a node has as many as it has huge pages of this size, as in ``2MiB``."""
    return page_sizes.CLASS_PREFIX + size.upper()


def pages_class(size_kib: int) -> str:
    """The resource class of huge pages of a size in KiB, as in ``CUSTOM_KONGMING_PAGES_2MIB``."""
    return class_of_page_size(page_sizes.size_name(size_kib))


def cache_class(cores: int) -> str:
    """The resource class of rooms for so many cores of one last-level cache, as in ``CUSTOM_KONGMING_CACHE_4``."""
    return f"{_CACHE_PREFIX}{cores}"


@functools.lru_cache(maxsize=256)  # asked for every class of every claim
def cores_of_cache_class(resource_class: str) -> int | None:
    """The cores of the rooms that a resource class counts; None for any other class."""
    number = resource_class.removeprefix(_CACHE_PREFIX)
    is_cache = resource_class.startswith(_CACHE_PREFIX)
    return whole_number.find_whole_number(number, whole_number.CPUS) if is_cache else None


def slot_class(template: str) -> str:
    """The resource class of which a node has 1 if it offers a template with explicit host CPUs."""
    return _SLOT_PREFIX + template.upper()


def template_trait(template: str) -> str:
    """The trait of a node that honours the template."""
    return _TEMPLATE_PREFIX + template.upper()


def offered_template(trait: str) -> str | None:
    """The template that a node's trait stands for; None for any other trait."""
    name = trait.removeprefix(_TEMPLATE_PREFIX).lower()
    return name if trait.startswith(_TEMPLATE_PREFIX) and NAME.fullmatch(name) else None


def node_trait(node_id: int) -> str:
    """The trait of the host's NUMA node with this id."""
    return f"{_NODE_PREFIX}{node_id}"


@functools.lru_cache(maxsize=1024)  # asked for every candidate of every host
def node_id_of(trait: str) -> int | None:
    """The NUMA node id that a trait stands for; None for any other trait."""
    number = trait.removeprefix(_NODE_PREFIX)
    return whole_number.find_whole_number(number, whole_number.NODE_IDS) if trait.startswith(_NODE_PREFIX) else None


def smt_trait(threads_per_core: int) -> str:
    """The trait of a node whose dedicated pool has cores of so many threads.

    A flavor whose count of host CPUs depends on that number requires it, so that the count is exact wherever the
    server lands.
    """
    return f"{_SMT_PREFIX}{threads_per_core}"


def smt_of(trait: str) -> int | None:
    """The threads per core that a trait stands for; None for any other trait."""
    number = trait.removeprefix(_SMT_PREFIX)
    is_smt = trait.startswith(_SMT_PREFIX)
    return whole_number.find_whole_number(number, whole_number.THREADS_PER_CORE) if is_smt else None


def node_uuid(root_uuid: str, node_id: int) -> str:
    """The id of the provider of a host's NUMA node: the same after every restart."""
    return str(uuid.uuid5(uuid.UUID(root_uuid), f"kongming:numa:{node_id}"))


def node_name(root_name: str, node_id: int) -> str:
    """The name of the provider of a host's NUMA node."""
    return f"{root_name}_kongming_numa{node_id}"


def machine_trait(mark: str) -> str:
    """The trait of the nodes of a machine.

    :param mark: of letters and digits
    """
    return _MACHINE_PREFIX + mark


def machine_of(trait: str) -> str | None:
    """The mark of the machine that a trait names; None for any other trait."""
    return trait.removeprefix(_MACHINE_PREFIX) if trait.startswith(_MACHINE_PREFIX) else None


def template_uuid(template: str) -> str:
    """The id of a template's provider: creating it twice is creating it once."""
    return str(uuid.uuid5(_TEMPLATE_NAMESPACE, template))


def template_provider_name(template: str) -> str:
    """The name of a template's provider."""
    return _TEMPLATE_PROVIDER_PREFIX + template


def template_of_provider(provider_name: str) -> str | None:
    """The template that a provider of this name holds; None for any other provider."""
    name = provider_name.removeprefix(_TEMPLATE_PROVIDER_PREFIX)
    return name if provider_name.startswith(_TEMPLATE_PROVIDER_PREFIX) and NAME.fullmatch(name) else None


def class_uuid(template: str) -> str:
    """The id of the provider on which the servers are recorded that have a template instead of their flavor's."""
    return str(uuid.uuid5(_CLASS_NAMESPACE, template))


def class_provider_name(template: str) -> str:
    """The name of that provider."""
    return _CLASS_PROVIDER_PREFIX + template


def class_of_provider(provider_name: str) -> str | None:
    """The template whose servers are recorded on a provider of this name; None for any other provider."""
    name = provider_name.removeprefix(_CLASS_PROVIDER_PREFIX)
    return name if provider_name.startswith(_CLASS_PROVIDER_PREFIX) and NAME.fullmatch(name) else None


@functools.lru_cache(maxsize=4096)  # asked for each guest in each pass
def class_consumer(server: str) -> str:
    """The id of the consumer that records the class of a server; Nova knows none of this id, and so leaves it alone."""
    return str(uuid.uuid5(_CLASS_NAMESPACE, f"server:{server}"))


def agent_uuid(host: str) -> str:
    """The id of the provider that holds the sign of life of a host's agent."""
    return str(uuid.uuid5(_AGENT_NAMESPACE, host))


def agent_provider_name(host: str) -> str:
    """The name of the provider that holds the sign of life of a host's agent."""
    return _AGENT_PROVIDER_PREFIX + host


def agent_host(provider_name: str) -> str | None:
    """The host of whose agent a provider holds the sign of life; None for any other provider."""
    host = provider_name.removeprefix(_AGENT_PROVIDER_PREFIX)
    return host if provider_name.startswith(_AGENT_PROVIDER_PREFIX) and host else None


def describe_amounts(amounts: Mapping[str, int]) -> str:
    """Amounts of resource classes in words, as in "PCPU=4, VCPU=2".

    :param amounts: resource class to amount
    """
    return ", ".join(f"{name}={amount}" for name, amount in sorted(amounts.items())) or "nothing"

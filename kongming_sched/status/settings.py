# SPDX-License-Identifier: Apache-2.0
"""Checks of the settings of the agent, Nova and Placement. Pure: from the files' values to verdicts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from kongming_sched.cloud.candidates import most_candidates
from kongming_sched.cloud.compute import Flavor
from kongming_sched.status.files import AgentFile, NovaFile, PlacementFile
from kongming_sched.status.verdict import Problem, Verdict, failure, warning
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.counted import count, first

TEMPLATE_FILTER, NUMA_FILTER = "KongmingTemplateFilter", "KongmingNumaFilter"
ALL_FILTERS = "kongming_sched.filters.all_filters"
ALL_WEIGHERS = "kongming_sched.weighers.all_weighers"
NOVAS_WEIGHERS = "nova.scheduler.weights.all_weighers"

_CANDIDATE_FILTERS = ("NUMATopologyFilter", "PciPassthroughFilter")
"""Nova's own filters that read candidates and drop some."""
_OVERWRITES_LIMITS = "NUMATopologyFilter"


def of_agent(file: AgentFile | None) -> Verdict:
    """The check of the CPUs that the agent and Nova give away."""
    if file is None:
        return Verdict("this machine has no agent's configuration; run this on the compute nodes too")
    problems = [failure(str(clash).partition(";")[0], "take it out of one of them") for clash in file.clashes]
    if not file.pools:
        remedy = "set [kongming_agent] dedicated_cpu_set; 'kongming-agent --check' proposes CPUs"
        problems.append(
            warning("dedicated_cpu_set and shared_cpu_set are empty, so that no template is offered", remedy)
        )
    return Verdict.of(
        f"{_words(file.files)}: no CPU is given away twice; 'kongming-agent --check' checks more", problems
    )


def of_filters(file: NovaFile | None, led: Sequence[str] = (), *, has_agent: bool) -> Verdict:
    """The check of the filters and weighers.

    :param led: the templates whose servers Nova lays out itself, led by the filters
    :param has_agent: whether this is a compute node, whose nova.conf need not be the scheduler's
    """
    if file is None:
        return Verdict("this machine has no nova.conf; run this where nova-scheduler runs too")
    if file.enabled_filters is None and has_agent:
        fact = f"{_words(file.files)} does not set [filter_scheduler] enabled_filters"
        remedy = f"if nova-scheduler reads it, add {TEMPLATE_FILTER} and {NUMA_FILTER}; else run this where it runs"
        return Verdict.of("", [warning(fact, remedy)])
    problems = [*_of_enabled_filters(file, led), *_of_fallback(file, led), *_of_weighers(file)]
    return Verdict.of(f"{_words(file.files)} has KongMing's filters and weighers", problems)


def of_candidates(
    nova: NovaFile | None,
    placement: PlacementFile | None,
    nodes_by_host: Mapping[str, int],
    templates: Iterable[PinningTemplate],
    flavors: Collection[Flavor] | None = None,
) -> Verdict:
    """The check of how many candidates Placement makes and Nova asks for.

    :param nodes_by_host: how many NUMA nodes each host has; empty if that is not known
    :param flavors: None if they are not known
    """
    hosts, nodes = len(nodes_by_host), sum(nodes_by_host.values())
    most = most_candidates(nodes_by_host, templates, flavors)
    problems = []
    if placement is not None and 0 <= placement.max_allocation_candidates < max(nodes, 1):
        fact = (
            f"[placement] max_allocation_candidates = {placement.max_allocation_candidates} in"
            f" {_words(placement.files)} is less than the {count(nodes, 'NUMA node')}: KongMing does not see all"
        )
        problems.append(warning(fact, f"set it to -1, or to {max(most, nodes)} at the least"))
    is_breadth_first = placement is not None and placement.generation_strategy == "breadth-first"
    if nova is not None:
        problems += _of_results(nova, hosts, most, is_breadth_first=is_breadth_first)
    if placement is not None and not is_breadth_first:
        fact = (
            f"[placement] allocation_candidates_generation_strategy = {placement.generation_strategy} in"
            f" {_words(placement.files)}: all candidates of one host come before those of the next"
        )
        remedy = (
            "set it to breadth-first, which Placement has from 13.0, 12.0.1 and 11.0.1 on, so that a limit on"
            " candidates leaves none of the hosts out"
        )
        problems.append(warning(fact, remedy))
    where = [f"the templates make up to {count(most, 'candidate')} on {count(hosts, 'host')}"] if nodes else []
    files = {"nova.conf": nova, "placement.conf": placement}
    if missing := [name for name, file in files.items() if file is None]:
        where.append(f"this machine has no {' and no '.join(missing)}; run this where they are too")
    return Verdict.of("; ".join(where), problems)


def of_claims(file: PlacementFile | None) -> Verdict:
    """The check of how often Placement tries a claim."""
    if file is None:
        return Verdict("this machine has no placement.conf; run this where Placement runs too")
    times = file.allocation_conflict_retry_count
    if times == 1:
        return Verdict(f"{_words(file.files)} lets Nova repeat a claim, and not Placement")
    fact = (
        f"[placement] allocation_conflict_retry_count = {times} in {_words(file.files)}: a claim that Placement repeats"
        " may get more CPUs than there are, in every release from 11 to 16"
    )
    return Verdict.of("", [failure(fact, "set it to 1; Nova repeats a claim that met another one")])


def _of_enabled_filters(file: NovaFile, led: Sequence[str]) -> Iterator[Problem]:
    where, enabled = _words(file.files), list(file.enabled_filters or ())
    missing = [name for name in (TEMPLATE_FILTER, NUMA_FILTER) if name not in enabled]
    if missing:
        fact = f"[filter_scheduler] enabled_filters of {where} lacks {' and '.join(missing)}"
        if led and NUMA_FILTER in missing:
            fact += f", so that Nova itself chooses the NUMA nodes of {_servers(led)}"
        yield failure(fact, "add them as the README's section on installing says, and start nova-scheduler anew")
    if ALL_FILTERS not in (file.available_filters or ()):
        fact = f"[filter_scheduler] available_filters of {where} lacks {ALL_FILTERS}"
        yield failure(fact, f"add a line available_filters = {ALL_FILTERS} beside Nova's own")
    for name in filter(enabled.__contains__, _CANDIDATE_FILTERS):
        if TEMPLATE_FILTER in enabled and enabled.index(TEMPLATE_FILTER) > enabled.index(name):
            fact = f"{TEMPLATE_FILTER} stands behind {name} in enabled_filters of {where}"
            yield warning(fact, "put it in front: it drops candidates that the other need not read")
    yield from _of_last_filter(where, enabled, led)


def _of_last_filter(where: str, enabled: Sequence[str], led: Sequence[str]) -> Iterator[Problem]:
    """Problems of filters behind the one that puts a host's candidates in order and leads Nova to the first."""
    behind = enabled[enabled.index(NUMA_FILTER) + 1 :] if NUMA_FILTER in enabled else ()
    for name in behind:
        fact = f"{NUMA_FILTER} stands in front of {name} in enabled_filters of {where}"
        if led and name == _OVERWRITES_LIMITS:
            fact += f", which overwrites what leads Nova to the NUMA nodes of {_servers(led)}"
            yield failure(fact, "put it behind, as the last filter, and start nova-scheduler anew")
        elif name in _CANDIDATE_FILTERS:
            yield warning(fact, "put it behind: Nova claims the first candidate, which the other may drop")


def _of_fallback(file: NovaFile, led: Sequence[str]) -> Iterator[Problem]:
    """The problem of Nova's second query, for candidates with VCPU in place of PCPU."""
    if led and not file.disable_fallback_pcpu_query:
        fact = (
            f"[workarounds] disable_fallback_pcpu_query is off in {_words(file.files)}: Nova asks Placement for the"
            f" candidates of {_servers(led)} twice, and half of them take VCPU of the host in place of PCPU"
        )
        yield warning(fact, "set it to true for nova-scheduler, and start that anew")


def _of_weighers(file: NovaFile) -> Iterator[Problem]:
    where, classes = _words(file.files), file.weight_classes or (NOVAS_WEIGHERS,)
    if ALL_WEIGHERS not in classes:
        fact = f"[filter_scheduler] weight_classes of {where} lacks {ALL_WEIGHERS}, so that hosts are not packed"
        yield warning(fact, f"set weight_classes = {', '.join([*classes, ALL_WEIGHERS])}")
    elif NOVAS_WEIGHERS not in classes:
        fact = f"[filter_scheduler] weight_classes of {where} lacks {NOVAS_WEIGHERS}, so that Nova's own do not count"
        yield warning(fact, f"set weight_classes = {', '.join([NOVAS_WEIGHERS, *classes])}")


def _of_results(nova: NovaFile, hosts: int, most: int, *, is_breadth_first: bool) -> Iterator[Problem]:
    """Problems of Nova's limit on candidates.

    A limit below the number of hosts leaves some out. One below the number of candidates does so too, unless Placement
    makes them breadth first.
    """
    limit = nova.max_placement_results
    option = f"[scheduler] max_placement_results = {limit} in {_words(nova.files)}"
    if limit < hosts:
        fact = f"{option} is less than the {count(hosts, 'host')}: servers do not get to all of them"
        yield warning(fact, f"set it to {hosts} at the least")
    elif limit < most and not is_breadth_first:
        fact = f"{option} is less than the {most} candidates that a template may have: some hosts may be left out"
        yield warning(fact, f"set it to {most}, or Placement's generation strategy to breadth-first")


def _servers(led: Sequence[str]) -> str:
    return f"servers of template {first(led)}"


def _words(files: Sequence[str]) -> str:
    return " and ".join(files)

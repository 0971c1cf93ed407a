# SPDX-License-Identifier: Apache-2.0
"""What Placement, and the servers that run on a host, mean for the agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.inspect.cloud_findings import of_guests, of_provider, of_templates
from kongming_sched.agent.inspect.findings import Finding, Level
from kongming_sched.agent.model.guest import Domain, Identity, ObservedGuest, Threads
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.agent.model.view import HostView
from kongming_sched.agent.settings import Settings
from kongming_sched.cpuset import CpuSet
from kongming_sched.placement.client import Provider
from kongming_sched.pools import HostCpus, HostPools
from testbed.topologies import SHAPES
from tests.unit.agent.hosts import EVERYWHERE, POOLS, ROOT, TEMPLATES, host, preview, tenant

PROVIDER = Provider(ROOT, "host", 1, ROOT, None)
SETTINGS = Settings(
    POOLS.dedicated, POOLS.shared, None, CpuSet(), 4.0, 0, None, "qemu:///system", 10, Path("/run"), False, "", 0
)
WEB = tenant("web", "gold", [0], "1", "9")
SCHEDULER = {"cpu_shares": 1024}


def running(uuid: str, cpus: str = "0,4,8", fault: str = "") -> ObservedGuest:
    """A guest without a template."""
    threads = Threads({0: CpuSet.parse(cpus)}, POOLS.housekeeping)
    return ObservedGuest(Domain(uuid, uuid, "", SCHEDULER), Identity(uuid, 1, None, fault=fault), threads)


def managed() -> ObservedGuest:
    """A guest of a template."""
    return replace(WEB.guest, domain=replace(WEB.guest.domain, scheduler=SCHEDULER))


def guests(
    *seen: ObservedGuest, found: Preview | None = None, settings: Settings = SETTINGS
) -> list[tuple[Level, str, str]]:
    """Level, subject and fact of what is found of guests."""
    return [(item.level, item.subject, item.fact) for item in of_guests(seen, found, settings, POOLS)]


def templates(offered: Sequence[str], pools: HostPools = POOLS, problems: Sequence[Problem] = ()) -> list[Finding]:
    """What is found of the templates of a host."""
    return list(of_templates(preview(host(templates=offered, pools=pools), problems=tuple(problems))))


def test_provider_with_nodes() -> None:
    """The names of the nodes' providers are given in order."""
    finding = of_provider(PROVIDER, host().states)

    fact = f"answers; provider host ({ROOT}) is there, with host_kongming_numa0, host_kongming_numa1 below"
    assert Finding(Level.OK, "Placement", fact) == finding


def test_provider_of_a_new_host() -> None:
    """Its nodes are still to be made."""
    assert of_provider(PROVIDER, {}).fact.endswith("with no NUMA node below yet; the agent makes them")


def test_no_template() -> None:
    """A host for which there is none is fine."""
    assert [(Level.OK, "there is none for this host; see 'openstack kongming template create'")] == [
        (finding.level, finding.fact) for finding in templates([])
    ]


def test_templates_that_can_be_honoured() -> None:
    """They are named in one line."""
    assert [(Level.OK, "bronze, gold can be honoured here")] == [
        (finding.level, finding.fact) for finding in templates(["gold", "bronze"])
    ]


def test_template_that_cannot_be_read() -> None:
    """It is named with what is wrong; other problems are no matter of templates."""
    broken = Problem(Reason.TEMPLATE, Subject(SubjectKind.TEMPLATE, "old"), "it has no cells")
    other = Problem(Reason.DOMAIN, Subject(SubjectKind.SERVER, "x"), "it is broken")

    [first, *_] = templates(["gold"], problems=[broken, other])

    assert (Level.WARN, broken.text) == (first.level, first.fact)


def test_template_that_cannot_beside_one_that_can() -> None:
    """It may be meant for other hosts, so it is no warning."""
    without_shared = replace(POOLS, shared=CpuSet())

    found = templates(["gold", "bronze"], without_shared)

    assert [Level.OK, Level.OK] == [finding.level for finding in found]
    assert found[1].fact.startswith("bronze cannot be honoured here: node 0: needs 1 shared CPUs")
    assert "" == found[1].remedy


def test_host_that_can_honour_none() -> None:
    """That is a warning, with what to do."""
    [finding] = templates(["bronze"], replace(POOLS, shared=CpuSet()))

    assert Level.WARN == finding.level
    assert finding.remedy.startswith("change the pools or the template")


def test_host_without_pools() -> None:
    """No node is there that could say why not."""
    [finding] = templates(["gold"], HostPools(CpuSet(), CpuSet(), EVERYWHERE))

    assert "gold cannot be honoured here: no node of this host has CPUs in the pools" == finding.fact


def test_guests_of_a_host_that_is_well() -> None:
    """They are counted, with what the agent has to do."""
    found = guests(managed(), running("free"), found=preview(host(WEB)))

    words = "2 run here, 1 of a template; the agent has nothing to do now, see 'kongming-host plan'"
    assert [(Level.OK, "servers", words)] == found


def test_guests_without_an_answer_of_placement() -> None:
    """What the agent would do is not known then."""
    assert [(Level.OK, "servers", "1 run here, 1 of a template")] == guests(managed())


def test_work_of_the_agent_is_counted() -> None:
    """Each action is a thing to do."""
    newcomer = tenant("web", "gold", [0], "0-15", "9")

    [*_, (_, _, words)] = guests(managed(), found=preview(host(newcomer)))

    assert words.startswith("1 run here, 1 of a template; the agent has 1 thing to do now")


def test_guest_without_a_place() -> None:
    """It is named with the reason."""
    homeless = preview(host(replace(WEB, nodes=())))

    [first, *_] = guests(managed(), found=homeless)

    reason = "its flavor's groups are not claimed on this host's node providers"
    assert (Level.WARN, "servers", f"server web (a-web): {reason}") == first


def test_guest_that_cannot_be_read() -> None:
    """The agent leaves it alone, and nothing is said of a template that it may well have."""
    found = guests(running("odd", "1", fault="it is broken"))

    assert ["server odd (odd): it is broken"] == [fact for level, _, fact in found if level is Level.WARN]


def test_guests_on_the_dedicated_pool() -> None:
    """At most five are named, and only while the agent does not keep them off."""
    intruders = [running(f"free-{number}", "1") for number in range(7)]

    found = guests(*intruders)
    confined = guests(*intruders, settings=replace(SETTINGS, confine_unmanaged=True))

    assert found[0][2].endswith("server free-3 (free-3), server free-4 (free-4) and 2 more")
    assert found[1:] == confined


def test_host_without_a_cpu_controller() -> None:
    """Shares and quotas cannot be set there."""
    bare = replace(managed(), domain=replace(WEB.guest.domain, scheduler={}))

    [first, *_] = guests(bare)

    assert (Level.WARN, "cgroups") == first[:2]


@pytest.mark.parametrize(("offered", "narrow"), [(["gold"], ""), (["gold", "alone", "cores"], "alone, cores")])
def test_cores_that_are_not_counted(offered: Sequence[str], narrow: str) -> None:
    """The CPUs are named, with the templates for which their cores are too narrow."""
    cpus = HostCpus(SHAPES["i7-14700"], HostPools(CpuSet.parse("2-27"), housekeeping=CpuSet.parse("0-1")))
    view = HostView(cpus, ROOT, "host", {}, {name: TEMPLATES[name] for name in offered}, ())
    found = [(item.level, item.fact) for item in of_templates(preview(view)) if item.subject == "dedicated pool"]
    words = f"CPU 16-27 of node 0 is not counted: {narrow} can have whole cores here, so that the cores of 2 threads"
    assert [(Level.WARN, f"{words} are counted alone")] * bool(narrow) == found


def test_guest_for_which_libvirt_is_slow() -> None:
    """It could be read, and what the agent would do of it is not known; one that could not be read says so already."""
    seen = [running("a"), running("b", fault="libvirt could not read it")]
    slow = {"a": "libvirt could not answer", "b": "libvirt could not answer"}

    found = [item.fact for item in of_guests(seen, None, SETTINGS, POOLS, slow)]

    assert ["server b (b): libvirt could not read it", "server a (a): libvirt could not answer"] == found[:2]
    assert 0 == sum("b (b): libvirt could not answer" in fact for fact in found)

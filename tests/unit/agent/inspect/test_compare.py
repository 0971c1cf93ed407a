# SPDX-License-Identifier: Apache-2.0
"""The three views of a guest side by side: Placement's, libvirt's and the kernel's."""

from __future__ import annotations

from dataclasses import replace

from kongming_sched.agent.decide.preview import Preview
from kongming_sched.agent.inspect.compare import Comparison, KernelView, compare
from kongming_sched.agent.model.guest import Domain, HelperThread, Identity, ObservedGuest, Threads, libvirt_pins
from kongming_sched.agent.model.policy import ORDINARY, fifo
from kongming_sched.agent.model.problem import Problem, Reason, Subject, SubjectKind
from kongming_sched.cpuset import CpuSet
from kongming_sched.pools import HugePages
from tests.unit.agent.hosts import EVERYWHERE, Tenant, domain_xml, host, preview, tenant

WEB = tenant("web", "gold", [0], "1", "9")
DB = tenant("db", "gold", [0], "2", "10")


def seen(*tenants: Tenant) -> Preview:
    """What would be done on a host of these guests."""
    return preview(host(*tenants))


def with_affinity(who: Tenant, vcpu: int, cpus: str) -> Tenant:
    """A guest of which the kernel has a vCPU elsewhere than libvirt reports."""
    threads = replace(who.guest.threads, vcpus={**who.guest.threads.vcpus, vcpu: CpuSet.parse(cpus)})
    return replace(who, guest=replace(who.guest, threads=threads))


def with_words(who: Tenant, **words: str) -> Tenant:
    """A guest of which libvirt reports other pins than the kernel has."""
    domain = replace(who.guest.domain, xml=domain_xml(who.guest.threads, **words))
    return replace(who, guest=replace(who.guest, domain=domain))


def faults(found: list[Comparison]) -> list[tuple[str, str, str]]:
    """What does not agree."""
    return [(item.subject, item.what, item.fault) for item in found if item.fault]


def test_all_agree() -> None:
    """Each thread has a line, and its memory has one."""
    assert [
        Comparison("server web (a-web)", "vCPU 0", "1", "1", "1", note="dedicated, cell 0 on node 0"),
        Comparison("server web (a-web)", "vCPU 1", "9", "9", "9", note="dedicated, cell 0 on node 0"),
        Comparison(
            "server web (a-web)", "emulator", "0,4,8", "0,4,8", "0,4,8", note="it belongs on the housekeeping CPUs"
        ),
        Comparison("server web (a-web)", "memory", "node 0", "node 0", "node 0"),
    ] == compare(seen(WEB), [], KernelView({"a-web": CpuSet.of([0])}))


def test_pin_that_the_kernel_dropped() -> None:
    """libvirt goes on to report it, so both disagree with the kernel."""
    fault = "the kernel has it on CPU 0-15, and it belongs on 1; libvirt says CPU 1, and the kernel has 0-15"

    assert [("server web (a-web)", "vCPU 0", fault)] == faults(
        compare(seen(with_affinity(WEB, 0, "0-15")), [], KernelView())
    )


def test_pin_that_libvirt_reports_elsewhere() -> None:
    """The kernel has it where it belongs."""
    found = compare(seen(with_words(WEB, vcpu1="3")), [], KernelView())

    assert [("server web (a-web)", "vCPU 1", "libvirt says CPU 3, and the kernel has 9")] == faults(found)


def test_two_guests_on_one_cpu() -> None:
    """Each line names the other guest."""
    found = compare(seen(WEB, with_affinity(DB, 0, "1")), [], KernelView())

    shared = [(subject, what) for subject, what, fault in faults(found) if "is used by" in fault]
    assert [("server db (a-db)", "vCPU 0"), ("server web (a-web)", "vCPU 0")] == sorted(shared)
    assert any("CPU 1 is used by server db (a-db) too" in fault for _, _, fault in faults(found))


def test_vcpu_on_the_cpu_of_an_emulator() -> None:
    """A CPU of an emulator's own is as much one guest's as that of a vCPU."""
    own = tenant("own", "own", [0], "3", emulator="11")

    found = compare(seen(own, with_affinity(DB, 0, "11")), [], KernelView())

    shared = {what: fault for _, what, fault in faults(found) if "is used by" in fault}
    assert "CPU 11 is used by server db (a-db) too" in shared["emulator"]
    assert "CPU 11 is used by server own (a-own) too" in shared["vCPU 0"]


def test_cpu_that_is_offline() -> None:
    """libvirt goes on to name it, and the kernel leaves it out: that is no disagreement where others are left."""
    found = compare(seen(with_words(tenant("float", "bronze", [1], "12"), vcpu0="12,99")), [], KernelView())

    assert [] == faults(found)


def test_pins_of_cpus_that_are_all_offline() -> None:
    """libvirt's pin is none at all then."""
    found = compare(seen(with_words(WEB, vcpu0="99")), [], KernelView())

    assert ["libvirt says CPU none that is online, and the kernel has 1"] == [fault for _, _, fault in faults(found)]


def test_memory_that_may_lie_elsewhere() -> None:
    """The kernel's word counts where libvirt has bound it."""
    found = compare(seen(WEB), [], KernelView({"a-web": EVERYWHERE & CpuSet.parse("0-1")}))

    assert [("server web (a-web)", "memory", "the kernel lets it lie on node 0-1")] == faults(found)


def test_memory_that_is_bound_to_another_node() -> None:
    """Its claim says where it belongs."""
    bound = replace(WEB.guest.identity, memory_nodes=CpuSet.of([1]))
    found = compare(seen(replace(WEB, guest=replace(WEB.guest, identity=bound))), [], KernelView())

    assert [
        Comparison(
            "server web (a-web)",
            "memory",
            "node 0",
            "node 1",
            "any node",
            "libvirt has bound it to node 1, and it belongs on node 0",
        )
    ] == [item for item in found if item.what == "memory"]


def test_guest_whose_memory_is_nobodys_business() -> None:
    """Its template does not bind it, and neither has libvirt."""
    floats = tenant("float", "loose", [0], "3")
    unbound = replace(floats.guest.identity, memory_nodes=CpuSet(), memory_mode="")
    found = compare(seen(replace(floats, guest=replace(floats.guest, identity=unbound))), [], KernelView())

    assert ["vCPU 0", "emulator"] == [item.what for item in found]


def test_guest_without_a_place() -> None:
    """The reason comes before its threads."""
    homeless = replace(WEB, nodes=())

    found = compare(seen(homeless), [], KernelView())

    of_guest = [(item.what, item.fault) for item in found if item.subject == "server web (a-web)"]
    assert ("template gold", "its flavor's groups are not claimed on this host's node providers") == of_guest[0]


def test_provider_that_is_not_as_it_should_be() -> None:
    """What would be done in Placement is a fault of the provider."""
    view = host(WEB)
    uuid = view.node_uuids()[1]
    stale = replace(view.states[uuid], traits=frozenset())

    found = compare(preview(replace(view, states={**view.states, uuid: stale})), [], KernelView())

    assert (
        "provider host_kongming_numa1",
        "set trait CUSTOM_KONGMING_NODE_1",
        "it says what the node is",
    ) in faults(found)


def test_what_could_not_be_read() -> None:
    """It comes first, with the reason."""
    problem = Problem(Reason.DOMAIN, Subject(SubjectKind.SERVER, "x", "u"), "it is broken")

    found = compare(preview(host(), problems=(problem,)), [], KernelView())

    assert [Comparison("server x (u)", "its description", "", "", "", "it is broken")] == found


def test_guest_without_a_template() -> None:
    """Placement says nothing of it, and libvirt and the kernel should agree all the same."""
    threads = Threads({0: CpuSet.parse("3")}, EVERYWHERE)
    domain = Domain(
        "u", "instance-u", "<domain><vcpu>1</vcpu><cputune><vcpupin vcpu='0' cpuset='4'/></cputune></domain>"
    )

    found = compare(seen(), [ObservedGuest(domain, Identity("free", 1, None), threads)], KernelView())

    assert [
        Comparison("server free (u)", "vCPU 0", "", "4", "3", "libvirt says CPU 4, and the kernel has 3"),
        Comparison("server free (u)", "emulator", "", "0-15", "0-15"),
    ] == found


def test_pins_of_the_live_xml() -> None:
    """A thread without a pin of its own has that of all vCPUs; I/O threads are known by their ids."""
    xml = (
        "<domain><vcpu cpuset='2-3' current='2'>8</vcpu><cputune><vcpupin vcpu='1' cpuset='7'/>"
        "<iothreadpin iothread='4' cpuset='1'/></cputune></domain>"
    )
    some, seven, one = (CpuSet.parse(cpus) for cpus in ("2-3", "7", "1"))

    assert Threads({0: some, 1: seven}, some, {4: one}) == libvirt_pins(Domain("u", "i", xml), EVERYWHERE)


def helpers(*threads: HelperThread, of: str = "a-web") -> KernelView:
    """What the kernel says of a guest's other threads."""
    return KernelView({}, {of: threads})


def helper(number: int, cpus: str, name: str = "worker", *, is_bound: bool = False) -> HelperThread:
    """A thread that libvirt does not pin by itself."""
    return HelperThread(number, name, CpuSet.parse(cpus), is_bound)


def test_threads_that_libvirt_does_not_pin() -> None:
    """Those of one affinity share a line; what is on a part of the emulator's CPUs agrees."""
    view = helpers(helper(1, "0,4,8"), helper(2, "0,4,8", "call_rcu"), helper(3, "0,4,8"), helper(4, "0"))

    found = [item for item in compare(seen(WEB), [], view) if item.what.startswith("threads")]

    assert [
        Comparison(
            "server web (a-web)", "threads call_rcu, worker (2)", "0,4,8", "0,4,8", "0,4,8", note="with the emulator"
        ),
        Comparison("server web (a-web)", "threads worker", "0,4,8", "0,4,8", "0", note="with the emulator"),
    ] == found


def test_thread_on_dedicated_cpus_of_another_guest() -> None:
    """It is a fault, whatever the kernel allows; one that it keeps is named as such."""
    view = helpers(helper(1, "2"), helper(2, "0-15", "iou-wrk-77", is_bound=True))

    found = faults(compare(seen(WEB, DB), [], view))

    fault = "CPU 2 is used by server db (a-db) too"
    bound = f"{fault}, and the kernel lets nobody change where it runs (PF_NO_SETAFFINITY)"
    assert [
        ("server web (a-web)", "threads worker", fault),
        ("server web (a-web)", "threads iou-wrk-77", bound),
    ] == found


def test_thread_that_is_elsewhere() -> None:
    """On CPUs that are nobody's it is a fault unless the kernel keeps it there; beside its own vCPU it is none."""
    view = helpers(helper(1, "3"), helper(2, "3", "iou-wrk-77", is_bound=True), helper(3, "1", "vcpu-made"))

    found = faults(compare(seen(WEB, DB), [], view))

    assert [("server web (a-web)", "threads worker", "the kernel has it on CPU 3, and the emulator on 0,4,8")] == found


def test_guest_that_is_kept_off_the_pool() -> None:
    """Each of its threads on CPUs that a server has alone is a fault; where it is not kept off, none is."""
    domain = Domain("u", "instance-u", "<domain><vcpu>1</vcpu></domain>")
    free = ObservedGuest(domain, Identity("free", 1, None), Threads({0: EVERYWHERE}, CpuSet.parse("0")))
    view = helpers(helper(1, "1"), of="u")

    kept, left = (faults(compare(seen(WEB), [free], view, ids)) for ids in (frozenset({"u"}), frozenset[str]()))

    used = "is used by server web (a-web) too"
    emulator = ("server free (u)", "emulator", "libvirt says CPU 0-15, and the kernel has 0")
    vcpu = ("server free (u)", "vCPU 0", f"CPU 1 {used}")
    assert [vcpu, emulator, ("server free (u)", "threads worker", f"CPU 1 {used}")] == kept
    assert [emulator] == left


def test_emulator_on_dedicated_cpus_of_another_guest() -> None:
    """It is a fault even where the guest is left as it is, for an administrator has pinned it there."""
    odd = replace(WEB, guest=replace(WEB.guest, threads=replace(WEB.guest.threads, emulator=CpuSet.parse("2"))))

    found = faults(compare(seen(odd, DB), [], KernelView()))

    assert any(what == "emulator" and "CPU 2 is used by server db (a-db) too" in fault for _, what, fault in found)


RAN = tenant("ran", "ran", [0], "1", "9")


def policies_of(found: list[Comparison]) -> list[tuple[str, str, str, str]]:
    """The lines of scheduling policies."""
    return [(item.what, item.placement, item.kernel, item.fault) for item in found if item.what.startswith("policy")]


def test_policies_of_a_real_time_guest() -> None:
    """Those that run in real time, or should; libvirt need not know of the priority."""
    right = KernelView(policies={"a-ran": {0: ORDINARY, 1: fifo(5)}})
    assert [("policy of vCPU 1", "SCHED_FIFO 5", "SCHED_FIFO 5", "")] == policies_of(compare(seen(RAN), [], right))
    wrong = KernelView(policies={"a-ran": {0: fifo(2), 1: fifo(1)}})
    first, second = "the kernel runs it by SCHED_FIFO 2", "the kernel runs it by SCHED_FIFO 1"
    assert [
        ("policy of vCPU 0", "SCHED_OTHER", "SCHED_FIFO 2", f"{first}, and it belongs to SCHED_OTHER"),
        ("policy of vCPU 1", "SCHED_FIFO 5", "SCHED_FIFO 1", f"{second}, and it belongs to SCHED_FIFO 5"),
    ] == policies_of(compare(seen(RAN), [], wrong))


def test_policies_of_all_others_have_no_line() -> None:
    """As none of them runs in real time."""
    view = KernelView(policies={"a-web": {0: ORDINARY, 1: ORDINARY}})
    assert [] == policies_of(compare(seen(WEB), [], view))


PAGES = {node: (HugePages(2048, 1000),) for node in (0, 1)}


def with_pages(nodeset: str, claimed: int = 1) -> Preview:
    """What would be done on a host of a guest with huge pages, which Nova has put on a node."""
    huge = tenant("huge", "huge", [claimed], "5", "13")
    cell = f"<memnode cellid='0' mode='strict' nodeset='{nodeset}'/>"
    xml = (
        f"</cputune><numatune>{cell}</numatune><memoryBacking><hugepages><page size='2048' unit='KiB' nodeset='0'/>"
        "</hugepages></memoryBacking><cpu><numa><cell id='0' cpus='0-1' memory='524288' unit='KiB'/></numa></cpu>"
    )
    domain = replace(huge.guest.domain, xml=huge.guest.domain.xml.replace("</cputune>", xml))
    identity = replace(huge.guest.identity, cell_nodes=(CpuSet.parse(nodeset),), memory_mode="strict")
    guest = replace(huge.guest, domain=domain, identity=identity)
    return preview(host(replace(huge, guest=guest), pages=PAGES))


def pages_of(found: list[Comparison]) -> list[tuple[str, str, str, str]]:
    """The lines of huge pages."""
    return [(item.placement, item.libvirt, item.kernel, item.fault) for item in found if item.what == "huge pages"]


def test_huge_pages_by_node() -> None:
    """Those of the claim, of the XML, and of the kernel stand side by side; no guest without pages has such a line."""
    right = "node 1: 256 of 2MiB"

    found = compare(with_pages("1"), [], KernelView(pages={"a-huge": {(1, 2048): 256}}))

    assert [(right, right, right, "")] == pages_of(found)
    assert "Nova has laid it out for good: cell 0 on node 1" in [item.note for item in found if item.what == "memory"]
    assert [] == pages_of(compare(seen(WEB), [], KernelView()))


def test_huge_pages_that_are_elsewhere() -> None:
    """Who disagrees with the claim is named; where the kernel has said nothing it is left out."""
    claimed, other = "node 1: 256 of 2MiB", "node 0: 256 of 2MiB"
    spread = {(0, 2048): 6, (1, 2048): 250}

    found = pages_of(compare(with_pages("1"), [], KernelView(pages={"a-huge": spread})))
    unasked = pages_of(compare(with_pages("1"), [], KernelView()))

    kernel = "node 0: 6 of 2MiB, node 1: 250 of 2MiB"
    assert [(claimed, claimed, kernel, f"the kernel has {kernel}, and {claimed} is claimed")] == found
    assert [(claimed, claimed, "", "")] == unasked
    moved = pages_of(compare(with_pages("0"), [], KernelView(pages={"a-huge": {(0, 2048): 256}})))
    fault = f"libvirt has {other}, and {claimed} is claimed; the kernel has {other}, and {claimed} is claimed"
    assert [(claimed, other, other, fault)] == moved

# SPDX-License-Identifier: Apache-2.0
"""Mutations of the agent: what it decides, and how it carries that out."""

from __future__ import annotations

from testbed.mutations.mutation import STORIES, Mutation

_APPLY = "kongming_sched/agent/act/apply.py"
_PLAN = "kongming_sched/agent/decide/plan.py"
_OCCUPANCY = "kongming_sched/agent/decide/occupancy.py"
_CLAIMS = "kongming_sched/agent/decide/claims.py"
_LAYOUT = "kongming_sched/agent/decide/layout.py"
_BLOCKED = "kongming_sched/agent/decide/blocked.py"
_RECONCILE = "kongming_sched/agent/loop/reconcile.py"
_CONFINE = "kongming_sched/agent/act/confine.py"
_TEST_APPLY = "tests/unit/agent/act/test_apply.py"

AGENT = (
    Mutation(
        "pass-gives-up-at-a-conflict",
        _RECONCILE,
        "_ATTEMPTS = 5\n",
        "_ATTEMPTS = 1\n",
        "a host is not written while others write to its providers",
        ("tests/functional/agent/test_reconcile.py",),
    ),
    Mutation(
        "overfull-memory-goes-unnoticed",
        "kongming_sched/agent/decide/overfull.py",
        "        if used > inventory.capacity and (name == names.MEMORY_MB or size_kib):\n",
        "        if used > inventory.capacity and size_kib:\n",
        "pools of huge pages that have grown into memory that servers have claimed are not reported",
        ("tests/unit/agent/decide/test_overfull.py",),
    ),
    Mutation(
        "calls-that-fail-are-believed",
        _APPLY,
        "            self.occupancy.doubt(action)\n",
        "            pass\n",
        "a thread that a failed call has moved all the same is not known to be there",
        (_TEST_APPLY,),
    ),
    Mutation(
        "pins-are-not-read-back",
        _APPLY,
        "                if pinned != cpus:\n",
        "                if pinned is None:\n",
        "a pin that the kernel drops is reported as done",
        (_TEST_APPLY, STORIES),
    ),
    Mutation(
        "undo-lets-float-over-the-pool",
        _APPLY,
        "        if action.is_pin and not cpus <= self._dedicated:\n",
        "        if not cpus:\n",
        "a guest that could not be pinned floats over CPUs of others again",
        (_TEST_APPLY,),
    ),
    Mutation(
        "nothing-is-undone",
        _APPLY,
        "        for action in reversed([*done, failed] if failed else done):\n",
        "        for action in done[:0]:\n",
        "a guest whose change fails is left half moved",
        (_TEST_APPLY, STORIES),
    ),
    Mutation(
        "undo-goes-onto-cpus-of-others",
        _APPLY,
        "            if back.is_pin and (owner := self.occupancy.owner(guest, back.cpus)):\n",
        '            if owner := "":\n',
        "a guest goes back to a CPU that another one has taken meanwhile",
        (_TEST_APPLY, STORIES),
    ),
    Mutation(
        "applier-trusts-the-plan",
        _APPLY,
        "            if action.is_pin and (blocker := self.occupancy.blocker(action.guest, action.cpus)):\n",
        '            if blocker := "":\n',
        "after a failure guests are pinned to CPUs of the guest that has not left them",
        (_TEST_APPLY, STORIES),
    ),
    Mutation(
        "plan-waits-for-nobody",
        _PLAN,
        "            if index in moved or occupancy.blocker(unit.guest, unit.target) is not None:\n",
        "            if index in moved:\n",
        "guests are to be pinned before others have left their CPUs",
        ("tests/unit/agent/decide/test_plan.py",),
    ),
    Mutation(
        "nobody-checks-for-overlap",
        _OCCUPANCY,
        "        return next(self._others(guest, cpus, self._affinities), None)\n",
        "        return None\n",
        "neither the plan nor the one who carries it out sees that a CPU is taken",
        (STORIES,),
    ),
    Mutation(
        "freed-cpus-wake-nobody",
        _OCCUPANCY,
        "            if len(guests) < 2:\n",
        "            if not guests:\n",
        "a guest waits for CPUs on which only its own threads are left",
        ("tests/unit/agent/decide/test_occupancy.py",),
    ),
    Mutation(
        "foreign-claims-are-taken",
        _CLAIMS,
        "    for uuid in [guest.uuid for guest in others]:\n        claims.pop(uuid, None)\n",
        "",
        "a guest without a claim is placed by what another guest has claimed",
        ("tests/unit/agent/decide/test_claims.py", STORIES),
    ),
    Mutation(
        "amounts-of-claims-do-not-matter",
        _CLAIMS,
        "            if claim[node] == cells[index].resources and named[index] <= {node}:\n",
        "            if named[index] <= {node}:\n",
        "a guest is placed by a claim of something else",
        ("tests/unit/agent/decide/test_claims.py",),
    ),
    Mutation(
        "idle-siblings-are-given-away",
        _BLOCKED,
        "        blocked |= cpus | CpuSet.union(_idle_siblings(guest, topology, dedicated, templates))\n",
        "        blocked |= cpus\n",
        "the idle siblings of a guest that cannot be moved go to others",
        ("tests/unit/agent/decide/test_blocked.py", STORIES),
    ),
    Mutation(
        "siblings-of-emulators-are-given-away",
        _BLOCKED,
        "        if len(mine) == 1:\n",
        "        if not mine:\n",
        "the other thread of an emulator's core goes to another guest while its guest cannot be moved",
        ("tests/unit/agent/decide/test_blocked.py",),
    ),
    Mutation(
        "explicit-guests-do-not-wait",
        _BLOCKED,
        "    return CpuSet.of(cpu for cpu in wanted if cpu in owners and owners[cpu].uuid != guest.uuid)\n",
        "    return CpuSet()\n",
        "a guest of named CPUs is placed on those of a guest that cannot be moved",
        ("tests/unit/agent/decide/test_layout.py",),
    ),
    Mutation(
        "siblings-of-the-guest-are-put-anywhere",
        _LAYOUT,
        "            if item.together and item.guest not in requested:\n",
        "            if False:\n",
        "what a guest takes for threads of one core is on two",
        ("tests/unit/agent/decide/test_demands.py",),
    ),
    Mutation(
        "guests-without-a-place-hold-nothing",
        _LAYOUT,
        "        now_held = held | held_cpus(left, others, view.pools.dedicated)\n",
        "        now_held = held\n",
        "CPUs of guests whose claim or template is wrong are given to others",
        ("tests/unit/agent/decide/test_layout.py",),
    ),
    Mutation(
        "guests-without-a-place-stay-in-the-way",
        _LAYOUT,
        "            return cpus if not inside or (cpus == inside and cpus.isdisjoint(taken)) else self.housekeeping\n",
        "            return cpus if not inside or cpus == inside else self.housekeeping\n",
        "a guest without a place stays on a CPU that another one gets",
        ("tests/unit/agent/decide/test_layout.py",),
    ),
    Mutation(
        "guests-that-failed-are-moved-again",
        "kongming_sched/agent/act/pinning.py",
        "frozenset([*self._left, *self._failed, *self._untouched,",
        "frozenset([*self._left, *self._untouched,",
        "a pass tries a change again that has just failed",
        ("tests/functional/agent/test_faults.py::test_a_change_that_has_failed_is_not_tried_again_in_the_same_pass",),
    ),
    Mutation(
        "migrating-guests-are-pinned",
        "kongming_sched/agent/act/pinning.py",
        "                self._left[guest.uuid] = Problem(reason, server(guest), text)\n                found = True\n",
        "                self._known_not_busy.add(guest.uuid)\n",
        "libvirt blocks for half a minute at a guest that migrates",
        (STORIES,),
    ),
    Mutation(
        "incoming-guests-get-cpus-in-use",
        "kongming_sched/agent/state/reservations.py",
        "            if blocker is not None:\n",
        '            if blocker == "":\n',
        "an incoming guest starts on a CPU that another one has not left",
        ("tests/unit/agent/state/test_reservations.py",),
    ),
    Mutation(
        "cut-off-passes-are-drift",
        _RECONCILE,
        "            self._history.lose_track()\n",
        "            pass\n",
        "what a pass has moved before libvirt went away is reported as moved by others",
        ("tests/functional/agent/test_hands.py::test_what_a_pass_has_moved_before_it_was_cut_off_is_no_drift",),
    ),
    Mutation(
        "confinement-is-written-down-too-late",
        _CONFINE,
        "            self._save(self._records | {uuid: Record(record.start, before, {**record.given, **moves})})\n"
        "            self._pin(guest, threads, moves, confined)\n",
        "            self._pin(guest, threads, moves, confined)\n"
        "            self._save(self._records | {uuid: Record(record.start, before, {**record.given, **moves})})\n",
        "an agent that is killed meanwhile does not know what a guest had before",
        ("tests/unit/agent/act/test_confine.py",),
    ),
    Mutation(
        "new-threads-are-not-read",
        "kongming_sched/agent/act/helpers.py",
        "if number not in known.numbers}",
        "if number in known.numbers}",
        "a thread that a vCPU makes stays on that vCPU's CPU, or is on another server's after a move",
        ("tests/unit/agent/act/test_helpers.py",),
    ),
    Mutation(
        "pid-of-another-process",
        "kongming_sched/agent/host/kernel.py",
        '        if domain.uuid.encode() not in command.split(b"\\0"):\n',
        '        if not command.split(b"\\0"):\n',
        "the threads of another process are taken for those of a guest",
        ("tests/unit/agent/host/test_kernel.py",),
    ),
    Mutation(
        "failures-are-tried-without-pause",
        "kongming_sched/agent/state/backoff.py",
        "self._interval_seconds * 2**count, _MAX_BACKOFF_SECONDS",
        "self._interval_seconds * 0**count, _MAX_BACKOFF_SECONDS",
        "a guest that fails again and again is tried in each pass",
        ("tests/unit/agent/state/test_backoff.py",),
    ),
    Mutation(
        "move-overwrites-the-claim-of-others",
        "kongming_sched/agent/act/mover.py",
        "            if now.resources == moved.resources:\n",
        "            if now.resources:\n",
        "a move that fails sets a claim back that has been changed by others since",
        ("tests/functional/agent/test_move.py",),
    ),
    Mutation(
        "resized-guests-are-found-late",
        _RECONCILE,
        "                if attempt == 0 and new & layout.problems.keys():\n",
        "                if attempt < 0:\n",
        "a guest that has claimed after Placement was asked is left for the next pass",
        ("tests/functional/agent/test_started.py",),
    ),
)

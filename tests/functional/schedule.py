# SPDX-License-Identifier: Apache-2.0
"""In which order the workers of pytest-xdist take the files of tests, so that no long one is waited for at the end.

All files of one ``xdist_group`` go to one worker, one after another. So those that need this machine's only libvirtd
do not wait for each other in several workers. They mostly wait for libvirt and QEMU, while the other workers keep the
CPUs busy.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]
HERE = "tests/functional/"

FIRST = (
    "libvirt",
    "nova/test_servers.py",
    "nova/test_moves.py",
    "agent/test_faults.py",
    "agent/test_move.py",
    "test_ansible.py",
    "test_lab.py",
    "cli/test_golden.py",
    "cli/test_template_many.py",
    "cli/test_server.py",
    "status/test_upgrade_check.py",
    "agent/test_watched.py",
    "agent/test_orders.py",
    "agent/test_promises.py",
    "cli/test_planner.py",
)
"""The groups, and the files by their paths from here, that take longest; longest first."""

_GROUP = re.compile(r'pytest\.mark\.xdist_group\("(\w+)"\)')


@cache
def unit_of(scope: str) -> str:
    """What is handed out together with these tests: the group of their file if it has one, else they alone.

    :param scope: a file's path from the root of the checkout, or a class in it as ``FILE::CLASS``
    """
    marked = _GROUP.search((ROOT / scope.partition("::")[0]).read_text())
    return marked[1] if marked else scope


def rank(unit: str) -> int:
    """How early a unit is handed out; 0 comes first."""
    name = unit.partition("::")[0].removeprefix(HERE)
    return FIRST.index(name) if name in FIRST else len(FIRST)


class LongestFirst(LoadScopeScheduling):
    """xdist's ``--dist loadscope``, which hands out whole groups, and the longest units first."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(super()._split_scope(nodeid))

    def _assign_work_unit(self, node: object) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
        super()._assign_work_unit(node)

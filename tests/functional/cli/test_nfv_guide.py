# SPDX-License-Identifier: Apache-2.0
"""The guide for servers with huge pages: what it says of commands is what they do, in both languages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from kongming_sched.placement.nodes import NodeRegistry
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.tree import desired_tree
from kongming_sched.pools import HostCpus, HugePages
from testbed.quickstart.document import Command, File, agrees, blocks, steps
from testbed.topologies import make_topology, pools
from tests.functional.cli.shell import Done, Shell
from tests.functional.conftest import PlacementService

SOURCE = Path(__file__).parents[3] / "doc/source"
PAGE, CHINESE = SOURCE / "admin/nfv.rst", SOURCE / "zh/nfv.rst"
GIB_KIB = 1 << 20
HOST_CPUS = HostCpus(
    make_topology(2, 16, 2, memory_mb=64 * 1024),
    pools("2-15,18-31,34-47,50-63", housekeeping="0-1,16-17,32-33,48-49", reserved_memory_mb=4096),
    {node: (HugePages(GIB_KIB, 32),) for node in (0, 1)},
)
"""The host of the page."""


def register(placement: PlacementService) -> None:
    """Write the host's nodes as its agent does."""
    registry = NodeRegistry(placement.client, "compute-1")
    root, _, states = registry.observe()
    templates = [item.template for item in TemplateStore(placement.client).list().templates.values()]
    tree = desired_tree(root.uuid, root.name, HOST_CPUS, templates, states)
    registry.write(root, tree.nodes, states)


def run(openstack: Shell, folder: Path, command: Command) -> Done:
    """Type a command of the page in the folder of its files."""
    program, *words = shlex.split(command.text.replace("\\\n", " "))
    assert program == "openstack"
    return openstack("", *[str(folder / word) if word.endswith(".yaml") else word for word in words])


def test_the_guide_says_what_happens(openstack_with_nova: Shell, placement: PlacementService, tmp_path: Path) -> None:
    """Every command for Placement and Nova succeeds, and prints what stands below it."""
    placement.add_host("compute-1", "c0c0c0c0-0000-4000-8000-00000000000a", memory_mb=128 * 1024)
    register(placement)
    openstack = Shell({**openstack_with_nova.environment, "COLUMNS": "120"})
    typed = 0
    for step in (step for block in steps(PAGE.read_text()) for step in block):
        if isinstance(step, File):
            (tmp_path / step.name).write_text(step.text)
            continue
        done = run(openstack, tmp_path, step)
        assert (0, "") == (done.code, done.err), f"line {step.line}: {step.text}"
        printed = done.out.splitlines()
        assert agrees(step.output, printed), f"line {step.line} should print {step.output}, and printed {printed}"
        register(placement)
        typed += 1
    assert 5 <= typed


def test_both_languages_give_the_same_commands() -> None:
    """What is typed and what is written into files, word for word; comments may differ."""
    english, chinese = (
        [[re.sub(r" +# .*", "", line) for line in block.lines] for block in blocks(page.read_text())]
        for page in (PAGE, CHINESE)
    )
    assert english == chinese

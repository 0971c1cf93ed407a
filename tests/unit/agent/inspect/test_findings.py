# SPDX-License-Identifier: Apache-2.0
"""What a check found, as people and systemd's journal get it."""

from __future__ import annotations

from kongming_sched.agent.inspect.findings import Finding, Level, for_people, for_systemd, is_well, summary

FINE = Finding(Level.OK, "libvirt", "libvirt 9.0.0 answers")
HOOK = Finding(Level.WARN, "libvirt's hook", "is not installed", "kongming-host hook install")
POOLS = Finding(Level.ERROR, "CPU pools", "CPU 3 is in the pool and its sibling 7 is not")


def test_people_read_a_line_for_each_and_what_to_do() -> None:
    """The facts stand below each other, a remedy below its fact, and the verdict at the end."""
    expected = """\
ok     libvirt         libvirt 9.0.0 answers
warn   libvirt's hook  is not installed
                       -> kongming-host hook install
error  CPU pools       CPU 3 is in the pool and its sibling 7 is not

1 ok, 1 warning, 1 error. The agent cannot work here as it is.
"""
    assert expected == for_people([FINE, HOOK, POOLS], None)


def test_warnings_do_not_keep_the_agent_from_working() -> None:
    """Only errors do."""
    assert [True, False] == [is_well([FINE, HOOK]), is_well([FINE, HOOK, POOLS])]
    assert for_people([HOOK, HOOK], None).endswith("\n0 ok, 2 warnings, 0 errors. The agent can work here.\n")


def test_a_terminal_gets_lines_that_fit() -> None:
    """Long facts and remedies go on below their own beginning."""
    long = Finding(Level.WARN, "nova.conf", "word " * 30, "remedy " * 20)
    lines = for_people([long], 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert [" " * 18 + "word", " " * 18 + "-> r", " " * 21 + "r"] == [lines[1][:22], lines[3][:22], lines[4][:22]]


def test_colours_name_the_level_and_nothing_else() -> None:
    """Without them the text is the same."""
    coloured = for_people([FINE, HOOK, POOLS], None, colour=True)
    for code in ("\33[32m", "\33[33m", "\33[31m", "\33[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert for_people([FINE, HOOK, POOLS], None) == coloured


def test_the_journal_gets_what_is_not_well() -> None:
    """Each line begins with its priority, and the last one is as grave as the worst."""
    expected = """\
<4>libvirt's hook: is not installed; kongming-host hook install
<3>CPU pools: CPU 3 is in the pool and its sibling 7 is not
<3>check of this host: 1 ok, 1 warning, 1 error
"""
    assert expected == for_systemd([FINE, HOOK, POOLS])
    assert "<6>check of this host: 1 ok, 0 warnings, 0 errors\n" == for_systemd([FINE])


def test_a_servers_name_commands_no_terminal() -> None:
    """Users name servers, and may write what a terminal obeys or what looks like a line of the journal."""
    nasty = Finding(Level.WARN, "servers", "server \33[2Jx\n<0>the host is on fire")
    assert "\33" not in for_people([nasty], None) + for_people([nasty], 60) + for_systemd([nasty])
    assert 2 == for_systemd([nasty]).count("\n")


def test_nothing_found_is_well() -> None:
    """An empty list has a summary too."""
    assert "0 ok, 0 warnings, 0 errors" == summary([])
    assert "<6>check of this host: 0 ok, 0 warnings, 0 errors\n" == for_systemd([])

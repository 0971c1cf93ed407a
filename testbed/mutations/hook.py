# SPDX-License-Identifier: Apache-2.0
"""Mutations of libvirt's hook and of the socket that it asks."""

from __future__ import annotations

from testbed.mutations.mutation import Mutation

_HOOK = "kongming_sched/agent/ipc/qemu_hook.py"
_TEST_XML = ("tests/unit/agent/ipc/test_qemu_hook.py",)
_TEST_HOOK = ("tests/functional/agent/test_hook.py",)

HOOK = (
    Mutation(
        "hook-expands-a-document-type",
        _HOOK,
        '        raise Doubt("it has a document type")\n',
        "        return\n",
        "an entity of the document's own is expanded",
        _TEST_XML,
    ),
    Mutation(
        "hook-changes-strict-bindings",
        _HOOK,
        '        and attributes["mode"] == "restrictive"\n',
        "",
        "a binding of memory that Nova has made is replaced",
        _TEST_XML,
    ),
    Mutation(
        "hook-writes-any-answer",
        _HOOK,
        "    if not isinstance(text, str) or not _CPUS.fullmatch(text):\n",
        "    if not isinstance(text, str):\n",
        "what the agent's socket answers gets into the XML unread",
        _TEST_XML,
    ),
    Mutation(
        "hook-takes-empty-tags-for-open-ones",
        _HOOK,
        '            if element and not self._xml.endswith(b"/>", element.start, element.inside):\n',
        "            if element:\n",
        "the end of an empty tag is looked for behind it",
        _TEST_XML,
    ),
    Mutation(
        "hook-keeps-the-old-pins",
        _HOOK,
        '    except (OSError, ValueError, RecursionError) as error:\n        print(f"kongming-qemu-hook: the agent at',
        '    except ConnectionError as error:\n        print(f"kongming-qemu-hook: the agent at',
        "an agent that is too slow or says nonsense keeps the old pins in the XML",
        _TEST_HOOK,
    ),
    Mutation(
        "socket-answers-other-users",
        "kongming_sched/agent/ipc/listener.py",
        "    return user in (0, os.geteuid())\n",
        "    return user >= 0\n",
        "users of the host learn where guests belong, and give orders",
        _TEST_HOOK,
    ),
    Mutation(
        "hooks-of-others-are-replaced",
        "kongming_sched/agent/ipc/hook_file.py",
        '        if state == "not ours":\n',
        '        if state == "nobody\'s":\n',
        "the operator's own hook is overwritten",
        _TEST_HOOK,
    ),
)

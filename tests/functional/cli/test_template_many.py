# SPDX-License-Identifier: Apache-2.0
"""Many templates at once: all of them or none, and again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
import yaml

from kongming_sched.exceptions import PlacementError, TemplateExists, TemplatesHalfStored
from kongming_sched.placement import names
from kongming_sched.placement.client import PlacementClient
from kongming_sched.placement.templates import TemplateStore
from kongming_sched.placement.transport import Adapter
from kongming_sched.template import PinningTemplate
from testbed.adapters import Failing, Failure, Meddling
from testbed.topologies import two_nodes_smt2
from tests.functional.cli.conftest import Nova, Register, Write
from tests.functional.cli.samples import AGGREGATE, GOLD, OTHER, SILVER
from tests.functional.cli.shell import Shell
from tests.functional.cli.state import state_of, unchanged
from tests.functional.conftest import PlacementService, running_placement

BOTH = f"{GOLD}---\n{SILVER}"


def listed(openstack: Shell) -> list[str]:
    """The templates that there are."""
    return [item["name"] for item in openstack.json("kongming template list")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BOTH, id="documents"),
        pytest.param(yaml.safe_dump(list(yaml.safe_load_all(BOTH))), id="a list"),
        pytest.param(json.dumps(list(yaml.safe_load_all(BOTH)), indent=1), id="JSON"),
        pytest.param(f"---\n{BOTH}---\n", id="an empty document counts for nothing"),
    ],
)
def test_a_file_may_hold_several(openstack: Shell, write: Write, content: str) -> None:
    """They are printed in the file's order."""
    created = openstack.json("kongming template create --file", write(content))
    assert [item["name"] for item in created] == ["gold", "silver"] == listed(openstack)


def test_several_files_may_be_given(openstack: Shell, write: Write) -> None:
    """And are one set."""
    files = write(GOLD, "gold.yaml"), "--file", write(SILVER, "silver.yaml")
    assert openstack("kongming template create --file", *files).code == 0
    assert listed(openstack) == ["gold", "silver"]


def test_the_same_command_again_changes_nothing(openstack: Shell, placement: PlacementService, write: Write) -> None:
    """So that a planner may repeat what it does not know the outcome of."""
    words = ("kongming template create --file", write(BOTH), "--aggregate", AGGREGATE)
    first = openstack.json(*words)
    with unchanged(placement.client):
        assert openstack.json(*words) == first


def test_what_is_there_is_completed(openstack: Shell, write: Write) -> None:
    """By what is missing of the set."""
    assert openstack("kongming template create --file", write(GOLD)).code == 0
    assert openstack("kongming template create --file", write(BOTH)).code == 0
    assert listed(openstack) == ["gold", "silver"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            BOTH.replace("isolate", "any"), "template 'gold' exists already; change it with ", id="another of the name"
        ),
        pytest.param(
            f"{SILVER}---\n{SILVER.replace('silver', 'bronze')}",
            "template 'silver' at cells[0].pins: host CPU 1,9 belongs to template 'bronze'",
            id="the same CPUs",
        ),
        pytest.param(f"{SILVER}---\nname: bronze\n", "{path}:8: template 'bronze' at cells: is missing", id="broken"),
        pytest.param(f"{SILVER}---\n{SILVER}", "{path}:8: template 'silver' is given twice", id="a name twice"),
    ],
)
def test_nothing_is_stored_if_anything_is_wrong(
    openstack: Shell, placement: PlacementService, write: Write, gold: str, content: str, message: str
) -> None:
    """Not even what is right."""
    path = write(content)
    with unchanged(placement.client):
        done = openstack("kongming template create --file", path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(message.format(path=path))
    assert gold


def test_a_name_is_for_one_template(openstack: Shell, write: Write) -> None:
    """In one file."""
    path = write(BOTH)
    done = openstack("kongming template create gold --file", path)
    assert (done.code, done.err) == (1, f"{path}: holds 2 templates, and only one can be meant\n")
    done = openstack("kongming template create gold --file", path, "--file", path)
    assert (done.code, done.err) == (1, "a name is for one file with one template; leave it out\n")
    done = openstack("kongming template create --file", path, "--file", path)
    assert (done.code, done.err) == (1, f"{path}: template 'gold' is in another file too\n")


def test_an_aggregate_may_be_named(openstack_with_nova: Shell, nova: Nova, write: Write) -> None:
    """By the name that Nova has for it, if there is one."""
    made = nova.call("POST", "/os-aggregates", aggregate={"name": "rack1", "availability_zone": None})["aggregate"]
    try:
        path = write(GOLD)
        done = openstack_with_nova("kongming template create --aggregate rack2 --file", path)
        assert (done.code, done.err) == (
            1,
            "no host aggregate has the name or UUID 'rack2'; see 'openstack aggregate list --long'\n",
        )
        assert openstack_with_nova("kongming template create --aggregate rack1 --file", path).code == 0
        shown = openstack_with_nova.json("kongming template list --long --aggregate rack1")
        assert shown[0]["aggregates"] == [made["uuid"]]
        assert openstack_with_nova.json("kongming template list --aggregate", OTHER) == []
    finally:
        nova.call("DELETE", f"/os-aggregates/{made['id']}")


# Failures

TEMPLATES = [PinningTemplate.from_mapping(data) for data in yaml.safe_load_all(BOTH)]


@pytest.mark.parametrize("failure", [Failure.LOST_REQUEST, Failure.LOST_ANSWER, Failure.CONFLICT])
def test_all_or_none_whichever_request_fails(failure: Failure) -> None:
    """Each in turn, before or after it is done: all are stored, or nothing is there; and then the same stores them."""
    failed = 0
    for failing in itertools.count():
        with running_placement() as placement:
            adapter = Failing(placement.adapter, failing, failure)
            try:
                TemplateStore(PlacementClient(adapter)).create_all(TEMPLATES, [AGGREGATE])
            except (PlacementError, TemplateExists):
                failed += 1
                assert {} == state_of(placement.client)
                TemplateStore(placement.client).create_all(TEMPLATES, [AGGREGATE])
            found = TemplateStore(placement.client).list().templates
            assert TEMPLATES == [stored.template for stored in found.values()]
        if adapter.count <= failing:
            break
    assert failing > 10
    assert failed or failure is Failure.CONFLICT


class Gone(Exception):
    """The command has lost its power."""


def cut_off(placement: PlacementService, after: int, then: Callable[[], Exception]) -> Adapter:
    """A way to Placement that ends after so many requests."""
    count = 0

    def before(method: str, url: str) -> None:  # noqa: ARG001  # as Meddling calls it
        nonlocal count
        count += 1
        if count > after:
            raise then()

    return Meddling(placement.adapter, before)


def test_the_same_again_finishes_what_was_killed_at_any_point() -> None:
    """Without a clean-up by hand."""
    for after in itertools.count():
        with running_placement() as placement:
            adapter, store = cut_off(placement, after, Gone), TemplateStore(placement.client)
            try:
                TemplateStore(PlacementClient(adapter)).create_all(TEMPLATES)
                break
            except Gone:
                found = store.list().templates
                left = [template for template in TEMPLATES if template.name not in found]
                store.create_all(left)
            assert TEMPLATES == [
                stored.template for stored in TemplateStore(placement.client).list().templates.values()
            ]
    assert after > 10


def test_what_another_client_has_stored_meanwhile_stays(placement: PlacementService) -> None:
    """Only what this call has written is deleted, when another client takes up one of its drafts."""
    gold, silver = TEMPLATES
    put = f"/resource_providers/{names.template_uuid('gold')}/traits"

    def meddle(method: str, url: str) -> None:
        if (method, url) == ("PUT", put):
            TemplateStore(placement.client).create(silver)

    store = TemplateStore(PlacementClient(Meddling(placement.adapter, meddle)))
    with pytest.raises(TemplateExists, match="'silver' exists already"):
        store.create_all([gold, silver])
    found = TemplateStore(placement.client).list().templates
    assert [silver] == [stored.template for stored in found.values()]


def test_what_could_not_be_taken_back_is_told(placement: PlacementService) -> None:
    """If Placement goes away between the first template and the last."""
    from keystoneauth1.exceptions import ConnectFailure

    put = f"/resource_providers/{names.template_uuid('silver')}/traits"
    gone = False

    def before(method: str, url: str) -> None:
        nonlocal gone
        gone |= (method, url) == ("PUT", put)
        if gone:
            raise ConnectFailure("connection refused")

    store = TemplateStore(PlacementClient(Meddling(placement.adapter, before)))
    with pytest.raises(TemplatesHalfStored) as caught:
        store.create_all(TEMPLATES)
    assert caught.value.left == ("gold", "silver")
    assert "run the same command again to store the rest" in str(caught.value)
    assert ["gold"] == list(TemplateStore(placement.client).list().templates)


# Export


def test_what_is_exported_can_be_created(openstack: Shell, placement: PlacementService, write: Write) -> None:
    """All of them, in either format, and the templates are the same."""
    openstack("kongming template create --file", write(BOTH))
    before = TemplateStore(placement.client).list().templates
    for words in ("", " --format json"):
        done = openstack("kongming template export" + words)
        assert (done.code, done.err) == (0, "")
        assert openstack("kongming template delete --force gold silver").code == 0
        assert openstack("kongming template create --file -", stdin=done.out.encode()).code == 0
        after = TemplateStore(placement.client).list().templates
        assert {name: item.template for name, item in before.items()} == {
            name: item.template for name, item in after.items()
        }


def test_a_single_template_is_exported_with_its_version(openstack: Shell, write: Write) -> None:
    """And the aggregates, which its file cannot hold, in a comment."""
    openstack("kongming template create --aggregate", AGGREGATE, "--file", write(BOTH))
    done = openstack("kongming template export gold")
    assert done.out.startswith("# version 2, offered to " + AGGREGATE + "\nname: gold\ncells:\n- vcpus: 0-1\n")
    assert openstack("kongming template set gold --file -", stdin=done.out.encode()).code == 0
    done = openstack("kongming template export bronze")
    assert (done.code, done.err) == (1, "no template is named 'bronze'; see 'openstack kongming template list'\n")


# Dry runs


def report(openstack: Shell, *words: str, code: int) -> list[tuple[str, str, str | None, str]]:
    """The lines of a dry run."""
    done = openstack(*words, "--dry-run", "-f", "json")
    assert (done.code, done.err) == (code, "")
    return [(line["effect"], line["subject"], line["host"], line["detail"]) for line in json.loads(done.out)]


def test_a_dry_run_of_create(openstack: Shell, placement: PlacementService, write: Write, register: Register) -> None:
    """What would be stored, who would have to move, and who could not set the CPUs aside."""
    for host in ("c1", "c2", "c3"):
        root = register(host, two_nodes_smt2())
        if host != "c3":
            node = names.node_uuid(root, 0)
            placement.allocate(
                f"5e00e000-0000-4000-8000-00000000000{host[1]}",
                {root: {"MEMORY_MB": 1}, node: {names.PCPU: 1 if host == "c1" else 6}},
            )
    wide = SILVER.replace('{0: 1, 1: "9"}', '"1-3,5-7,9-10"')
    with unchanged(placement.client):
        assert report(openstack, "kongming template create --file", write(f"{wide}---\n{GOLD}"), code=1) == [
            ("change", "template silver", None, "new, offered to all hosts"),
            ("change", "template gold", None, "new, offered to all hosts"),
            ("move", "dedicated servers", "c1", "those on CPU 1-3,5-7,9-10 go to other CPUs of their node"),
            ("move", "dedicated servers", "c2", "those on CPU 1-3,5-7,9-10 go to other CPUs of their node"),
            (
                "conflict",
                "template silver",
                "c2",
                "cannot set CPU 1-3,5-7,9-10 aside: 6 CPUs of the dedicated pools are allocated, and at most 4 would"
                " be left",
            ),
        ]


def test_a_dry_run_tells_every_refusal(openstack: Shell, placement: PlacementService, write: Write, gold: str) -> None:
    """The command itself reports the first."""
    other = SILVER.replace("silver", "other")
    path = write(f"{GOLD.replace('isolate', 'any')}---\n{SILVER}---\n{other}")
    with unchanged(placement.client):
        lines = report(openstack, "kongming template create --file", path, code=1)
    assert [line[3].partition(";")[0] for line in lines if line[0] == "conflict"] == [
        "template 'gold' exists already",
        "template 'silver' at cells[0].pins: host CPU 1,9 belongs to template 'other', which is offered to the same"
        " hosts",
    ]
    assert gold


def test_a_dry_run_of_set_and_delete(openstack: Shell, placement: PlacementService, write: Write, gold: str) -> None:
    """Each field that changes; what is the same already is no change; Nova, which is down, is asked about users."""
    path = write(GOLD.replace("1024", "512"))
    with unchanged(placement.client):
        done = openstack("kongming template set gold --dry-run --file", gold)
        assert (done.code, done.out.strip(), done.err) == (0, "", "Nothing would change.\n")
        done = openstack("kongming template set gold --dry-run --file", path)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("Nova could not list servers: ")
        assert report(openstack, "kongming template set gold --aggregate", AGGREGATE, code=0) == [
            ("change", "template gold", None, f"aggregates: all hosts -> {AGGREGATE}")
        ]
        assert report(openstack, "kongming template delete --force gold gone", code=1) == [
            ("change", "template gold", None, "deleted"),
            ("change", "template gone", None, "deleted"),
            (
                "conflict",
                "template gold, gone",
                None,
                "no template is named 'gone'; see 'openstack kongming template list'",
            ),
        ]

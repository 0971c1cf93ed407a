# SPDX-License-Identifier: Apache-2.0
"""PinningRequest: what a flavor's extra specs ask, or why they cannot."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongming_sched.exceptions import InvalidRequest
from kongming_sched.request import CellRequest, NumaStrategy, PinningRequest, find_clash

GOLD = {
    "kongming:template": "gold",
    "resources:VCPU": "0",
    "resources_KONGMING0:CUSTOM_KONGMING_PCPU": "4",
    "resources_KONGMING0:CUSTOM_KONGMING_MEMORY_MB": "2048",
    "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required",
    "hw_rng:allowed": "True",
}
"""What ``openstack kongming flavor set`` writes, beside a key that is none of our business."""


def gold(**changes: str | None) -> dict[str, str]:
    """GOLD with further keys; None takes a key away."""
    return {key: value for key, value in {**GOLD, **changes}.items() if value is not None}


def test_a_request_holds_a_group_per_cell() -> None:
    """Resources as numbers, traits as a set, under the suffix that Placement's mappings use."""
    expected = PinningRequest(
        "gold",
        (
            CellRequest(
                "_KONGMING0",
                {"CUSTOM_KONGMING_PCPU": 4, "CUSTOM_KONGMING_MEMORY_MB": 2048},
                frozenset({"CUSTOM_KONGMING_TEMPLATE_GOLD"}),
            ),
        ),
    )
    assert expected == PinningRequest.from_extra_specs(GOLD)


def test_groups_are_ordered_by_number() -> None:
    """Cell 10 comes after cell 2, whatever the order of the keys."""
    extra_specs = {f"resources_KONGMING{index}:CUSTOM_KONGMING_PCPU": str(index + 1) for index in range(11)}
    request = PinningRequest.from_extra_specs({**dict(reversed(extra_specs.items())), "kongming:template": "big"})
    assert request is not None
    assert [(f"_KONGMING{index}", index + 1) for index in range(11)] == [
        (cell.group, cell.resources["CUSTOM_KONGMING_PCPU"]) for cell in request.cells
    ]


@pytest.mark.parametrize(
    "extra_specs",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"hw:cpu_policy": "dedicated"}, id="Nova's own pinning"),
        pytest.param({"kongming:numa_strategy": "pack"}, id="a strategy alone"),
        pytest.param({"resources_KONGMING0:CUSTOM_KONGMING_PCPU": "x"}, id="a broken group alone"),
    ],
)
def test_a_flavor_without_a_template_asks_nothing(extra_specs: dict[str, str]) -> None:
    """Servers without a template are none of KongMing's business."""
    assert PinningRequest.from_extra_specs(extra_specs) is None


@pytest.mark.parametrize("strategy", list(NumaStrategy))
def test_a_flavor_may_choose_its_strategy(strategy: NumaStrategy) -> None:
    """Without one the configured strategy holds."""
    request = PinningRequest.from_extra_specs(gold(**{"kongming:numa_strategy": str(strategy)}))
    assert request is not None
    assert strategy is request.strategy


@pytest.mark.parametrize(
    ("extra_specs", "key"),
    [
        pytest.param(gold(**{"kongming:template": ""}), "kongming:template", id="an empty name"),
        pytest.param(gold(**{"kongming:template": "Gold"}), "kongming:template", id="a name with a capital"),
        pytest.param(gold(**{"kongming:numa_strategy": ""}), "kongming:numa_strategy", id="an empty strategy"),
        pytest.param(gold(**{"kongming:numa_strategy": "Pack"}), "kongming:numa_strategy", id="an unknown strategy"),
        pytest.param({"kongming:template": "gold"}, "resources_KONGMING0:*", id="a template without groups"),
        pytest.param(
            {"kongming:template": "gold", "trait_KONGMING0:CUSTOM_KONGMING_TEMPLATE_GOLD": "required"},
            "resources_KONGMING0:*",
            id="a group of traits only",
        ),
        pytest.param(
            gold(**{"resources_KONGMING2:CUSTOM_KONGMING_PCPU": "4"}), "resources_KONGMING1:*", id="a gap in the groups"
        ),
        pytest.param(
            {"kongming:template": "gold", "resources_KONGMING1:CUSTOM_KONGMING_PCPU": "4"},
            "resources_KONGMING0:*",
            id="groups that start at 1",
        ),
        pytest.param(
            {"kongming:template": "gold", "resources_KONGMING00:CUSTOM_KONGMING_PCPU": "4"},
            "resources_KONGMING0:*",
            id="a number with a zero in front",
        ),
        pytest.param(
            gold(**{"trait_KONGMING1:CUSTOM_KONGMING_TEMPLATE_GOLD": "required"}),
            "resources_KONGMING1:*",
            id="a trait of a group without resources",
        ),
        *[
            pytest.param(
                gold(**{"resources_KONGMING0:CUSTOM_KONGMING_PCPU": amount}),
                "resources_KONGMING0:CUSTOM_KONGMING_PCPU",
                id=f"the amount {amount!r}",
            )
            for amount in ("", "0", "00", "-1", "+1", "1.5", "four", " 4", "\u0664")
        ],
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_key(extra_specs: dict[str, str], key: str) -> None:
    """It fails closed: such a server is never scheduled as if it had not asked."""
    with pytest.raises(InvalidRequest) as caught:
        PinningRequest.from_extra_specs(extra_specs)
    assert key == caught.value.key
    assert repr(key) in str(caught.value)


CLASHES = [
    "hw:cpu_policy",
    "hw:cpu_thread_policy",
    "hw:cpu_dedicated_mask",
    "hw:numa_nodes",
    "hw:numa_cpus.0",
    "hw:numa_mem.1",
    "hw:mem_page_size",
    "hw:cpu_realtime",
    "hw:cpu_realtime_mask",
    "hw:emulator_threads_policy",
    "resources:PCPU",
    "resources1:PCPU",
]


@pytest.mark.parametrize("key", CLASHES)
def test_keys_by_which_nova_pins_clash(key: str) -> None:
    """Two masters cannot place one server."""
    with pytest.raises(InvalidRequest, match="cannot be combined with kongming:template") as caught:
        PinningRequest.from_extra_specs(gold(**{key: "1"}))
    assert key == caught.value.key


def test_the_first_clash_is_named() -> None:
    """The same flavor always gives the same message."""
    assert "hw:cpu_policy" == find_clash({"resources:PCPU": "1", "hw:numa_nodes": "1", "hw:cpu_policy": "dedicated"})


@pytest.mark.parametrize(
    "key", ["hw:cpu_sockets", "hw:cpu_max_threads", "resources:VCPU", "hw:mem_encryption", "trait:HW_CPU_X86_AVX2"]
)
def test_other_keys_do_not_clash(key: str) -> None:
    """What only shapes the guest, or asks for capacity, goes together with a template."""
    assert find_clash({key: "1"}) is None
    assert PinningRequest.from_extra_specs(GOLD) == PinningRequest.from_extra_specs(gold(**{key: "1"}))


def test_a_forbidden_trait_is_left_to_placement() -> None:
    """Only required traits are part of the request."""
    request = PinningRequest.from_extra_specs(gold(**{"trait_KONGMING0:CUSTOM_SLOW": "forbidden"}))
    assert PinningRequest.from_extra_specs(GOLD) == request


@given(
    st.dictionaries(
        st.sampled_from(["kongming:template", "kongming:numa_strategy", *GOLD, *CLASHES])
        | st.from_regex(r"(resources|trait)_KONGMING[0-9]{1,2}:[A-Z_]{1,4}", fullmatch=True),
        st.text(max_size=4) | st.sampled_from(["gold", "pack", "required", "1"]),
        max_size=6,
    )
)
def test_extra_specs_are_read_or_refused_and_never_break(extra_specs: dict[str, str]) -> None:
    """Operators write flavors by hand; no mistake raises anything but InvalidRequest."""
    with contextlib.suppress(InvalidRequest):
        request = PinningRequest.from_extra_specs(extra_specs)
        assert (request is None) == ("kongming:template" not in extra_specs)

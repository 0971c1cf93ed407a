# SPDX-License-Identifier: Apache-2.0
"""How orders are read, and how they and their answers are shown."""

from __future__ import annotations

import json

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.loop.orders import MoveOrder, Order, OrderAnswer, RebalanceOrder, parse_order


@pytest.mark.parametrize(
    ("order", "expected", "words"),
    [
        ({"order": "rebalance"}, RebalanceOrder(), "find the moves that make the most room"),
        ({"order": "move", "server": "web", "node": 1}, MoveOrder("web", 1), "move server web to node 1"),
        (
            {"order": "move", "server": "web", "node": 1, "cell": 0, "dry_run": True},
            MoveOrder("web", 1, 0, is_dry_run=True),
            "move server web, cell 0, to node 1 (dry run)",
        ),
    ],
    ids=["rebalance", "move", "dry run of a cell"],
)
def test_orders(order: dict[str, object], expected: Order, words: str) -> None:
    """Each is a value, and the log has it in words."""
    found = parse_order(json.dumps(order))

    assert (expected, words) == (found, str(found))


def test_name_of_a_server_is_shown_clean() -> None:
    """What an order says cannot break the lines of the log."""
    assert "move server a b\ufffd[2J to node 1" == str(MoveOrder("a\nb\x1b[2J", 1))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"order": "dance"}', '{"order": "move", "server": 1, "node": 1}'])
def test_what_is_no_order(text: str) -> None:
    """It is refused with a reason, whatever it is."""
    with pytest.raises(exceptions.InvalidOrder):
        parse_order(text)


@pytest.mark.parametrize(
    ("answer", "document", "words"),
    [
        (OrderAnswer(("moved a", "moved b")), {"lines": ["moved a", "moved b"]}, "moved a; moved b"),
        (OrderAnswer(("none help",), ()), {"lines": ["none help"], "moves": []}, "none help"),
        (OrderAnswer(error="no room"), {"error": "no room"}, "not done: no room"),
    ],
    ids=["move", "rebalance", "error"],
)
def test_answers(answer: OrderAnswer, document: dict[str, object], words: str) -> None:
    """The command gets JSON, and the log gets words."""
    assert (document, words) == (answer.as_json(), str(answer))


def test_an_error_without_end() -> None:
    """Its ends reach command and log."""
    answer = OrderAnswer(error=f"Placement answers <html>{'x' * 20_000}</html>")

    assert answer.error.startswith("Placement answers <html>x")
    assert answer.error.endswith("x</html>")
    assert len(answer.error) < 2100

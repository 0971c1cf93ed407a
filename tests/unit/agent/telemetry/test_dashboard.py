# SPDX-License-Identifier: Apache-2.0
"""The Grafana dashboard: it has the shape that Grafana wants, and asks for nothing that the agent does not export."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from kongming_sched.agent.telemetry.metrics import Metrics
from testbed.adapters import Answer
from tests.unit.agent.telemetry.test_metrics import full_outcome

DASHBOARD = json.loads((Path(__file__).parents[4] / "etc" / "grafana" / "kongming.json").read_text())
PANELS = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in GRAPHS for target in panel["targets"]]

LABELS = {"job", "instance"}
"""What Prometheus adds to every sample."""


class Answering:
    """Stands for a Placement that answers."""

    def request(self, url: str, method: str, **_: Any) -> Answer:  # noqa: ARG002  # the adapter's signature
        return Answer(200)


def exported() -> dict[str, set[str]]:
    """Every sample that the agent exports, with its labels."""
    metrics = Metrics()
    metrics.record(full_outcome(), 0.1, 0.2)
    metrics.count_requests(Answering()).request("/traits", "GET")
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def metrics_in(text: str) -> set[str]:
    """The metrics that a query names."""
    return set(re.findall(r"\b(?:kongming|process)_[a-z_]+\b", text))


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_a_panel_asks_for_what_is_told(title: str, expression: str) -> None:
    """Each metric that a query names is one of the agent's, with the labels that it selects and groups by."""
    known = exported()
    named = metrics_in(expression)

    assert named, title
    assert set() == named - known.keys()
    labels = set().union(*(known[name] for name in named)) | LABELS
    selected = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|=|!=|!~)", expression))
    grouped = {word for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for word in group.split(", ")}
    assert set() == (selected | grouped) - labels


def test_everything_that_is_told_is_shown() -> None:
    """No metric of the agent's is without a panel or a variable."""
    shown = metrics_in(json.dumps(DASHBOARD))
    samples = {name for name in exported() if name.startswith("kongming") and not name.endswith("_created")}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in samples}

    assert set() == {family for family in families if not any(name.startswith(family) for name in shown)}


def test_the_shape_is_grafanas() -> None:
    """A title, an id, a schema version, and panels with their place, their source and their questions."""
    assert {"title": "KongMing", "uid": "kongming-agents"} == {key: DASHBOARD[key] for key in ("title", "uid")}
    assert 36 <= DASHBOARD["schemaVersion"] <= 42
    assert len(PANELS) == len({panel["id"] for panel in PANELS})
    for panel in GRAPHS:
        assert panel["title"]
        assert panel["description"]
        assert {"type": "prometheus", "uid": "${datasource}"} == panel["datasource"]
        assert panel["targets"]
        assert len(panel["targets"]) == len({target["refId"] for target in panel["targets"]})
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_variables() -> None:
    """The data source is the reader's choice; the others come from the agents, and every query uses them."""
    variables = {item["name"]: item for item in DASHBOARD["templating"]["list"]}

    assert ["datasource", "job", "instance"] == list(variables)
    assert ("datasource", "prometheus") == (variables["datasource"]["type"], variables["datasource"]["query"])
    assert {"kongming_build_info"} == metrics_in(variables["job"]["definition"])
    for title, expression in EXPRESSIONS:
        assert expression.count('job=~"$job", instance=~"$instance"') == len(re.findall(r"\{", expression)), title


def test_panels_do_not_overlap() -> None:
    """Each has its own place on the 24 columns of a dashboard."""

    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    assert max(x for panel in PANELS for x, _ in cells(panel)) < 24
    assert [] == [
        (first["title"], second["title"]) for first, second in combinations(PANELS, 2) if cells(first) & cells(second)
    ]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not here")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """Once Grafana has put in its variables."""
    rules = [
        {"record": f"kongming:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    result = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)

    assert 0 == result.returncode, result.stdout + result.stderr

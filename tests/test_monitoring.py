"""The dashboard and the alert rules: they parse, and name nothing that no process tells.

Names and labels are those of a registry as a service makes it. The dashboard shows every one of them, and
docs/monitoring.md says what each is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from msgspec import Struct
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from projections.service.alerts.catalogue import KINDS
from projections.service.status.collector import StoreCollector
from projections.service.status.metrics import WAITS, Meters
from tests.servers import missing

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a process tells of its memory and files only on Linux"
)
DASHBOARD: dict[str, Any] = json.loads(Path("deploy/grafana/chainfold.json").read_text())
PAGE = Path("docs/monitoring.md").read_text()
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(Path("deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
TARGET = {"job", "instance"}
"""The labels that Prometheus itself puts beside ours."""

VALUES = {
    ("chainfold_stage_waiting", "for"): set(WAITS),
    ("chainfold_incidents", "kind"): set(KINDS),
    ("chainfold_reorgs_total", "finality"): {"above", "below"},
    ("chainfold_projection_state", "state"): {
        "live", "held", "building", "stale", "outdated", "halted", "empty", "ready",
    },
    ("chainfold_sink_state", "state"): {"current", "behind", "delivering", "empty", "foreign", "down"},
}  # fmt: skip
"""What a label may be, where it is one of a few."""


def told() -> Iterator[tuple[str, Metric, tuple[str, ...]]]:
    """Every metric that a service tells, with its name as queries have it and its labels."""
    meters = Meters("0")
    meters.add(StoreCollector(lambda: None))
    for collector in list(meters.registry._collector_to_names):  # there is no public way to the labels
        described = isinstance(collector, MetricWrapperBase | StoreCollector)
        for family in collector.describe() if described else collector.collect():
            labelled = collector if isinstance(collector, MetricWrapperBase) else family
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            yield family.name + suffix, family, tuple(getattr(labelled, "_labelnames", ()))


def exported() -> dict[str, set[str]]:
    """The labels of every sample, by its name."""
    found = {"up": set(TARGET)}
    for name, family, labels in told():
        for suffix in ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",):
            found[name + suffix] = {*labels, *TARGET, *(["le"] if suffix == "_bucket" else [])}
    return found


EXPORTED = exported()


class Asked(Struct, frozen=True):
    """What one expression selects, and the labels that its result has left."""

    selected: list[Any]
    left: set[str]


def asked(expression: str) -> Asked:
    """An expression as Prometheus would read it; the variables of the dashboard are filled in."""
    filled = expression.replace("$__rate_interval", "1m").replace('=~"$', '=~"').replace(".*", "")
    nodes: list[Any] = []
    tree = promql_parser.parse(filled)
    promql_parser.walk(tree, nodes.append)
    selected = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    selected += [node.vector_selector for node in nodes if isinstance(node, promql_parser.MatrixSelector)]
    outer = next((node for node in nodes if isinstance(node, promql_parser.AggregateExpr)), None)
    grouped = {label for node in nodes for label in by(node)}
    known = {label for item in selected for label in EXPORTED.get(item.name, ())}
    assert grouped <= known, f"{expression}: {grouped - known} are not labels of what it selects"
    return Asked(selected, known if outer is None else set(by(outer)))


def by(node: Any) -> list[str]:
    """The labels that an aggregation keeps."""
    modifier = node.modifier if isinstance(node, promql_parser.AggregateExpr) else None
    return [] if modifier is None else list(modifier.labels)


def shown() -> Iterator[tuple[str, str, str]]:
    """Every expression of the dashboard with where it stands and the text that its labels are put in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"], note["titleFormat"]


EXPRESSIONS = [
    *shown(),
    *((rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in RULES),
]


@pytest.mark.parametrize(("where", "expression", "said"), EXPRESSIONS, ids=lambda part: part[:40])
def test_an_expression_names_metrics_labels_and_values_that_there_are(
    where: str, expression: str, said: str
) -> None:
    found = asked(expression)
    assert found.selected, where
    for item in found.selected:
        assert item.name in EXPORTED, f"{where}: no process tells {item.name}"
        for match in item.matchers.matchers:
            assert match.name in EXPORTED[item.name], f"{where}: {item.name} has no label {match.name}"
            known = VALUES.get((item.name, match.name))
            assert known is None or set(match.value.split("|")) <= known, (where, match.value)
    for label in re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", said):
        assert label in found.left, f"{where}: {{{{{label}}}}} is gone when it is shown"


def test_every_metric_is_in_the_dashboard() -> None:
    used = {item.name for _, expression, _ in shown() for item in asked(expression).selected}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert {name for name, _, _ in told()} - families == {"chainfold_info"}


def test_the_page_says_of_every_metric_what_the_code_says() -> None:
    rows = re.findall(r"^\| `(chainfold\w+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {name: said for name, *said in rows} == {
        name: [", ".join(labels), family.documentation] for name, family, labels in told()
    }


def test_the_page_names_every_alert_with_its_severity() -> None:
    rows = re.findall(r"^\| `(Chainfold\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert dict(rows) == {rule["alert"]: rule["labels"]["severity"] for rule in RULES}


def test_the_page_names_all_that_a_stage_waits_for() -> None:
    assert ", ".join(f"`{reason}`" for reason in WAITS) in PAGE


def test_panels_have_room_and_names_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
        assert one["x"] + one["w"] <= 24
    for panel in panels:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)


def test_a_rule_says_what_is_wrong_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "todo"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


def test_every_rule_has_a_test_of_what_it_fires_at() -> None:
    tried = yaml.safe_load(Path("deploy/prometheus/rules_test.yml").read_text())["tests"]
    told = " ".join(test["exp_samples"][0]["labels"] for case in tried for test in expected(case))
    assert sorted(re.findall(r'alertname="(\w+)"', told)) == sorted(rule["alert"] for rule in RULES)
    fed = {
        asked(item["series"].partition("{")[0]).selected[0].name
        for case in tried
        for item in case["input_series"]
    }
    assert fed <= set(EXPORTED)


def expected(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The expressions of a test that have a result."""
    return [test for test in case["promql_expr_test"] if test["exp_samples"]]


@pytest.mark.process
def test_the_rules_fire_at_what_their_tests_say_and_at_nothing_else() -> None:
    program = shutil.which("promtool", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        missing("promtool (`make promtool` has it from Debian)")
    for wanted in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(
            [program, *wanted], check=False, cwd="deploy/prometheus", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_rules_and_asks_processes_that_compose_starts() -> None:
    configured = yaml.safe_load(Path("deploy/prometheus/prometheus.yml").read_text())
    for name in configured["rule_files"]:
        assert (Path("deploy/prometheus") / name).exists()
    [job] = configured["scrape_configs"]
    assert job["job_name"] == "chainfold"  # what ChainfoldDown goes by
    services = yaml.safe_load(Path("deploy/compose.yml").read_text())["services"]
    [found] = job["dns_sd_configs"]
    assert (found["type"], found["port"]) == ("A", 9100)
    for name in found["names"]:
        assert services[name]["command"][0] == "run"

"""monitoring/ asks for what there is: metrics and labels, log lines, places in the papers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.depths import Depth, DepthLines
from shared.measures import METRICS
from worker.gauges import HELP

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"
OPERATIONS = ROOT / "docs" / "operations.md"
LABELS = {
    **{name: set(metric.labels) for name, metric in METRICS.items()},
    **{name: {"client"} for name in HELP},
    "docmill_process_resident_bytes": {"process"},
    "docmill_storage_up": set(),
    "docmill_up_info": {"version"},
}
PROMETHEUS_OWN = {"job", "instance", "le"}
KQL_LITERAL = re.compile(r'message (?:startswith|contains) "([^"]+)"')


def read(name: str) -> str:
    return (MONITORING / name).read_text()


def alerts() -> dict[str, dict[str, Any]]:
    [group] = yaml.safe_load(read("alerts.yml"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(read("dashboard.json"))
    return loaded


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts().values())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard()["templating"]["list"]:
        if isinstance(variable["query"], dict):
            yield variable["query"]["query"]


def metric(name: str) -> str:
    """Of a series: a histogram has three."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in METRICS and METRICS[base].kind == "histogram" else name


def test_every_metric_that_is_asked_for_exists() -> None:
    for name in ("alerts.yml", "alerts_test.yml", "dashboard.json"):
        asked = {metric(found) for found in re.findall(r"\bdocmill_\w+", read(name))}
        assert asked <= set(LABELS), name


def test_every_metric_that_exists_is_asked_for_somewhere() -> None:
    asked = {metric(found) for text in expressions() for found in re.findall(r"\bdocmill_\w+", text)}
    assert set(LABELS) - asked == set()


def test_selected_labels_are_those_of_their_metric() -> None:
    series = [found for text in expressions() for found in re.findall(r"(docmill_\w+)\{([^}]*)\}", text)]
    series += re.findall(r"(docmill_\w+)\{([^}]*)\}", read("alerts_test.yml"))
    assert len(series) > 20
    for name, selector in series:
        labels = set(re.findall(r"(\w+)=", selector))
        assert labels <= LABELS[metric(name)] | PROMETHEUS_OWN, f"{name}{{{selector}}}"


def test_joined_labels_are_those_of_a_metric_beside_them() -> None:
    for text in expressions():
        known = set().union(
            *(LABELS[metric(name)] for name in re.findall(r"docmill_\w+", text)), PROMETHEUS_OWN
        )
        for labels in re.findall(r"\bby \(([^)]*)\)", text):
            assert set(re.findall(r"\w+", labels)) <= known, text


def test_what_every_worker_sees_is_never_added_up() -> None:
    shared = "docmill_queue_depth|docmill_queue_oldest_seconds|docmill_dead_letters_open"
    for text in expressions():
        for name in re.findall(shared, text):
            assert f"max by (client) ({name}" in text or text.startswith("label_values("), text


def test_the_gauges_are_explained_with_their_labels() -> None:
    explained = re.findall(
        r"^\| `(docmill_\w+)` \| (?:`(\w+)`|none) \|", OPERATIONS.read_text(), re.MULTILINE
    )
    assert {name: {label} - {""} for name, label in explained if name in HELP} == {
        name: LABELS[name] for name in HELP
    }


def test_every_alert_says_what_to_do_and_has_a_test_and_a_query() -> None:
    tested = {
        case["alertname"]
        for test in yaml.safe_load(read("alerts_test.yml"))["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    explained = set(re.findall(r"^\| `(Docmill\w+)`", read("README.md"), re.MULTILINE))
    queried = set(re.findall(r"^// (Docmill\w+):", read("queries.kql"), re.MULTILINE))
    assert set(alerts()) == tested == explained == queried
    for rule in alerts().values():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "action", "runbook"}


def test_runbooks_lead_somewhere() -> None:
    for rule in alerts().values():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


def test_the_dashboard_is_one() -> None:
    panels = dashboard()["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["title"].endswith("?") and panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"


def queries() -> list[str]:
    """Without their comments."""
    blocks = re.sub(r"^//.*\n", "", read("queries.kql"), flags=re.MULTILINE).split("\n\n")
    return [block.strip() for block in blocks if block.strip()]


def test_the_queries_look_for_lines_that_the_code_writes() -> None:
    source = "".join(path.read_text() for path in (ROOT / "shared").glob("*.py"))
    written = re.findall(r'log\.\w+\(\s*"([^"]+)"', source)
    literals = {found for query in queries() for found in KQL_LITERAL.findall(query)}
    assert len(literals) > 10
    for literal in literals:
        assert any(literal in line for line in written), literal


def test_each_query_begins_with_a_table_of_application_insights() -> None:
    for query in queries():
        table, *steps = query.splitlines()
        assert table in {"traces", "requests", "dependencies"}
        assert all(step.startswith(("| ", "    ")) for step in steps), query
        assert query.count('"') % 2 == 0 and query.count("(") == query.count(")")


def parsed(pattern: str, line: str) -> dict[str, str]:
    """What KQL's `parse ... with` takes out of a line."""
    made = ""
    for literal, name, kind in re.findall(r'"([^"]*)"|(\w+)(:long)?', pattern):
        value = r"\d+" if kind else ".*?"
        made += re.escape(literal) if literal else f"(?P<{name}>{value})"
    found = re.fullmatch(made, line)
    assert found, line
    return found.groupdict()


def test_the_queries_understand_a_depth_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    DepthLines().tell(Depth("acme-tasks", 3, 12, 1))
    patterns = {found for query in queries() for found in re.findall(r"parse message with (.+)", query)}
    [pattern] = patterns
    expected = {"queue": "acme-tasks", "depth": "3", "oldest": "12", "letters": "1"}
    assert parsed(pattern, caplog.messages[0]) == expected


def test_the_example_scrapes_the_job_that_the_rules_know() -> None:
    config = yaml.safe_load(read("prometheus.yml"))
    [job] = config["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in alerts()["DocmillWorkerLost"]["expr"]
    assert config["rule_files"] == ["alerts.yml"]

"""Alerts and the budget of infra/main.bicep: who is told of what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.infra.deployment import Deployment
from tests.infra.docmill import ACTION_GROUP, ROOT, deployed

ALERTS = ("Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts")


def test_alerts_reach_the_action_group(made: Deployment) -> None:
    group = made.one(ACTION_GROUP)
    rules = [rule for kind in ALERTS for rule in made.of(kind)]
    assert len(rules) == 12
    for rule in rules:
        actions = rule.properties["actions"]
        told = (
            actions["actionGroups"]
            if "actionGroups" in actions
            else [one["actionGroupId"] for one in actions]
        )
        assert told == [group.id]
        assert rule.properties["enabled"] is True


def test_mail_goes_to_who_is_named() -> None:
    def receivers(**given: Any) -> list[str]:
        group = deployed(**given).one(ACTION_GROUP).properties
        return [one["emailAddress"] for one in group["emailReceivers"]]

    assert receivers() == []
    assert receivers(alertEmail="operator@example.com") == ["operator@example.com"]


def test_queries_are_those_of_the_monitoring_folder() -> None:
    known = dict(queries((ROOT / "monitoring" / "queries.kql").read_text()))
    rules = deployed().of(ALERTS[0])
    for rule in rules:
        (criterion,) = rule.properties["criteria"]["allOf"]
        assert words(criterion["query"]) == words(known[rule.properties["displayName"]])
    named = {rule.properties["displayName"] for rule in rules}
    assert set(known) - named == {"DocmillWorkerLost"}  # scaling in looks the same


def queries(text: str) -> Iterator[tuple[str, str]]:
    """Name and query of those that are named after an alert."""
    for block in text.split("\n\n"):
        if match := re.match(r"// (Docmill\w+): ", block):
            yield match[1], "\n".join(line for line in block.splitlines() if not line.startswith("//"))


def words(query: str) -> list[str]:
    return query.split()


def test_a_query_looks_back_no_further_than_its_window() -> None:
    for rule in deployed().of(ALERTS[0]):
        (criterion,) = rule.properties["criteria"]["allOf"]
        (span,) = re.findall(r"ago\((\d+[mh])\)", criterion["query"])
        assert rule.properties["windowSize"] == f"PT{span.upper()}"


def test_the_service_is_asked_whether_it_lives() -> None:
    test = deployed().one("Microsoft.Insights/webtests").properties
    assert test["Request"]["RequestUrl"].endswith("/api/health")
    assert deployed(availabilityTest=False).of("Microsoft.Insights/webtests") == []


def test_a_budget_tells_before_it_is_spent() -> None:
    assert deployed().of("Microsoft.Consumption/budgets") == []
    found = deployed(monthlyBudget=50, alertEmail="operator@example.com")
    budget, group = found.one("Microsoft.Consumption/budgets").properties, found.one(ACTION_GROUP)
    assert budget["amount"] == 50 and budget["timePeriod"] == {"startDate": "2026-11-01"}
    assert {(one["threshold"], one["thresholdType"]) for one in budget["notifications"].values()} == {
        (80, "Actual"),
        (100, "Actual"),
        (100, "Forecasted"),
    }
    for one in budget["notifications"].values():
        assert one["contactGroups"] == [group.id] and one["contactEmails"] == ["operator@example.com"]


def test_the_month_of_a_budget_stays() -> None:
    first = deployed(monthlyBudget=50).outputs["DOCMILL_BUDGET_START"]
    assert first == "2026-11-01"
    assert deployed().outputs["DOCMILL_BUDGET_START"] == ""  # it may begin with a later month
    again = deployed(monthlyBudget=50, budgetStart="2026-03-01")
    assert again.outputs["DOCMILL_BUDGET_START"] == "2026-03-01"
    assert again.one("Microsoft.Consumption/budgets").properties["timePeriod"] == {"startDate": "2026-03-01"}

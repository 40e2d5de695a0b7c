"""docs/webhooks.md says what the code does: events, headers, failures, numbers, its SQL statement."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import timedelta
from typing import Any, get_args

import pytest

from shared import delivery, runner, signing, subscriptions, webhooks
from shared.deliveries import ATTEMPTS_KEPT, KEPT, LONGEST_RETRY_AFTER, FailureKind, Reason
from shared.errors import InvalidPayload
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE
from shared.providers.outbound import MAX_RESPONSE, HttpSender
from shared.redelivery import AT_ONCE
from shared.settings import Settings
from shared.submission import Submission, submit
from shared.tasks import EVENT_OF
from tests.services import MemoryServices, memory_services, registered
from tests.unit.test_docs import code, read, rows, section

PAGE = read("docs/webhooks.md")


def part(heading: str) -> str:
    return section(PAGE, heading)


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def default(field: str) -> Any:
    return Settings.model_fields[field].default


def test_every_event_type_is_listed_with_the_status_that_it_tells() -> None:
    listed = {code(cells[0])[0]: code(cells[2])[0] for cells in rows(part("Two ways to be told"))}
    assert listed == {name: status.value for status, name in EVENT_OF.items()}


def test_every_failure_and_every_reason_is_explained() -> None:
    log = part("The delivery log")
    assert tuple(code(cells[0])[0] for cells in rows(log)) == get_args(FailureKind)
    [reasons] = re.findall(r"^`reason` of (.*)$", log, re.MULTILINE)
    assert tuple(word for word in code(reasons) if "_" in word or word == "gone")[:5] == get_args(Reason)


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def told(services: MemoryServices) -> tuple[dict[str, Any], dict[str, str]]:
    """What a webhook is sent when a task has succeeded, and the headers."""
    webhooks.create(
        services, "acme", webhooks.Wish(url="https://example.com/", event_types=("task.succeeded",))
    )
    with registered("scripted", "tests.scripted"):
        submit(services, "acme", Submission("scripted", {}, traceparent=TRACEPARENT))
        (message,) = services.queues.receive("acme-tasks")
        runner.run(services, "acme", from_wire(message.text), message_id=message.id)
    (due,) = services.queues.receive(DELIVERIES_QUEUE)
    delivery.deliver(services, from_wire(due.text))
    [(_, body, headers)] = services.sender.sent
    return json.loads(body), headers


def test_the_example_has_the_shape_of_what_is_sent() -> None:
    body, headers = told(memory_services())
    shown = json.loads(block("json"))
    assert list(shown) == list(body)
    assert list(shown["data"]) == list(body["data"])
    assert set(shown["data"]["progress"]) == set(body["data"]["progress"])
    assert (shown["type"], shown["data"]["sequence"]) == (body["type"], body["data"]["sequence"])
    listed = {code(cells[0])[0] for cells in rows(part("What arrives"))}
    assert listed == set(headers) - {"content-type", "user-agent"}
    assert headers["content-type"] in part("What arrives")


NUMBERS: list[tuple[str, object, object]] = [
    ("at most 100 for each client", webhooks.MOST, 100),
    ("the latest 10", ATTEMPTS_KEPT, 10),
    ("kept for 30 days", KEPT, timedelta(days=30)),
    ("at most 1,000", AT_ONCE, 1000),
    ("within 15 seconds", default("webhook_timeout_seconds"), 15),
    ("at most 64 KiB are read", MAX_RESPONSE, 64 * 1024),
    ("up to a day", LONGEST_RETRY_AFTER, 24 * 3600),
    ("up to an hour", subscriptions.LONGEST_THROTTLE, timedelta(hours=1)),
    ("beside the new one for 24 hours", subscriptions.OVERLAP, timedelta(hours=24)),
    ("failed for 5 days", default("webhook_disable_after_seconds"), 5 * 24 * 3600),
    ("at 50, 70 and 90 %", subscriptions.WARNINGS, (50, 70, 90)),
    ("alone for 30 seconds", default("webhook_cooldown_seconds"), 30),
    ("up to 10 minutes", subscriptions.LONGEST_COOLING, timedelta(minutes=10)),
    (
        "5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h",
        default("webhook_retry_seconds"),
        (5, 300, 1800, 7200, 18000, 36000, 36000),
    ),
    ("eight attempts in 27 and a half hours", sum(default("webhook_retry_seconds")) // 1800 / 2, 27.5),
]


@pytest.mark.parametrize(("words", "actual", "said"), NUMBERS, ids=[words for words, _, _ in NUMBERS])
def test_the_numbers_are_those_of_the_code(words: str, actual: object, said: object) -> None:
    assert words in PAGE
    assert actual == said


def test_an_address_is_as_long_as_it_says() -> None:
    assert "at most 2,048 visible ASCII characters" in PAGE
    sender, url = HttpSender(allow_http=False, allow_private=False), f"https://example.com/{'a' * 2028}"
    sender.check(url)
    with pytest.raises(InvalidPayload):
        sender.check(url + "a")


def test_a_secret_is_as_long_as_it_says() -> None:
    _, secret = signing.new_keyring(memory_services())
    assert "`whsec_` and the base64 of 32 random bytes" in PAGE and len(secret) == len("whsec_") + 44


def test_the_statement_keeps_the_latest_of_each_task() -> None:
    statement = block("sql")
    with sqlite3.connect(":memory:") as database:
        database.execute(
            "CREATE TABLE docmill_tasks (task_id TEXT PRIMARY KEY, sequence INTEGER, status TEXT)"
        )
        for task_id, sequence, status in [
            ("a", 2, "running"),
            ("a", 1, "queued"),
            ("b", 1, "queued"),
            ("a", 3, "succeeded"),
            ("a", 3, "succeeded"),
            ("a", 2, "running"),
        ]:
            database.execute(statement, {"task_id": task_id, "sequence": sequence, "status": status})
        found = database.execute("SELECT * FROM docmill_tasks ORDER BY task_id").fetchall()
    database.close()
    assert found == [("a", 3, "succeeded"), ("b", 1, "queued")]


def test_its_routes_are_served() -> None:
    from api.app import create_app

    services: Any = memory_services()
    served = create_app(services).openapi()["paths"]
    named = re.findall(r"`(GET|POST|PATCH|DELETE) (/api/[^`]+)`", PAGE)
    assert named
    for method, path in named:
        assert method.lower() in served[path], path

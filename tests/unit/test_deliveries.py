"""A delivery and its attempts: values alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from shared.deliveries import ATTEMPTS_KEPT, Delivery, DeliveryAttempt, FailureKind, delivery_of, retry_delay
from shared.tasks import Task, new_task

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
URL = "https://user.example.com/hook?token=secret"
SCHEDULE = (5.0, 300.0, 1800.0)


def task() -> Task:
    return new_task("acme", "ingestion", {"document_id": "doc-1"}, NOW, task_id="task-00000001")


def delivery(webhook_id: str | None = "wh-1") -> Delivery:
    one = task()
    return delivery_of(one, one.events[0], webhook_id=webhook_id, receiver="wh-1", url=URL)


def attempt(number: int = 1, failure: FailureKind | None = "http_status") -> DeliveryAttempt:
    return DeliveryAttempt(
        attempt=number, at=NOW, status_code=500, failure=failure, duration_ms=12, response="no"
    )


def test_an_event_has_one_id_for_each_receiver_and_keeps_it() -> None:
    assert delivery().delivery_id == delivery().delivery_id
    assert delivery().delivery_id != delivery("wh-2").delivery_id != delivery(None).delivery_id


def test_the_record_holds_the_body_and_of_the_url_no_secret() -> None:
    made = delivery()
    assert json.loads(made.body)["data"]["task_id"] == "task-00000001"
    assert made.url == "https://user.example.com"
    assert "secret" not in made.model_dump_json()
    assert "body" not in made.public() and "client_id" not in made.public()


def test_an_attempt_delivers_or_is_repeated_or_was_the_last() -> None:
    due = NOW + timedelta(seconds=5)
    failed = delivery().after(attempt(), due, None)
    assert (failed.status, failed.next_attempt_at, failed.finished_at, failed.made) == (
        "pending",
        due,
        None,
        1,
    )
    done = failed.after(attempt(2, None), None, None)
    assert (done.status, done.next_attempt_at, done.finished_at, done.made) == ("delivered", None, NOW, 2)
    last = failed.after(attempt(2), None, "out_of_attempts")
    assert (last.status, last.reason, last.finished_at) == ("failed", "out_of_attempts", NOW)


def test_the_latest_attempts_are_kept_and_all_are_counted() -> None:
    made = delivery()
    for number in range(1, 31):
        made = made.after(attempt(number), NOW, None)
    assert made.made == 30
    assert [kept.attempt for kept in made.attempts] == list(range(31 - ATTEMPTS_KEPT, 31))


def test_the_schedule_is_gone_through_once() -> None:
    made, delays = delivery(), []
    while (delay := retry_delay(made, SCHEDULE, retry_after=None, chance=0.5)) is not None:
        delays.append(delay)
        made = made.after(attempt(), NOW, None)
    assert delays == [5, 300, 1800]
    assert retry_delay(made.again(NOW), SCHEDULE, retry_after=None, chance=0.5) == 5


@pytest.mark.parametrize(
    ("retry_after", "chance", "delay"),
    [(None, 0.0, 4.5), (None, 0.999, 5.4995), (3.0, 0.5, 5.0), (60.0, 0.5, 60.0), (1e9, 0.5, 86400.0)],
)
def test_the_next_attempt(retry_after: float | None, chance: float, delay: float) -> None:
    assert retry_delay(delivery(), SCHEDULE, retry_after=retry_after, chance=chance) == pytest.approx(
        delay, rel=1e-3
    )


def test_no_delay_is_longer_than_a_queue_allows() -> None:
    week = 7 * 86400.0
    assert retry_delay(delivery(), (week,), retry_after=None, chance=0.999) == week


def test_an_example_is_tried_once() -> None:
    example = delivery().model_copy(update={"once": True})
    assert retry_delay(example, SCHEDULE, retry_after=10, chance=0) is None


def test_sent_again_it_keeps_its_past() -> None:
    failed = delivery().after(attempt(), None, "out_of_attempts").again(NOW)
    assert (failed.status, failed.reason, failed.finished_at, failed.made) == ("pending", None, None, 1)
    assert len(failed.attempts) == 1

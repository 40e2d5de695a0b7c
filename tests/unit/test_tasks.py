"""Transitions and what callers see of a task."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Conflict
from shared.tasks import FINAL, TRANSITIONS, Task, TaskStatus, new_task, origin

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
URL = "https://user.example.com/hooks/secret-path?token=hidden"
LEGAL = {
    "queued": {"running", "cancelled", "failed"},
    "running": {"succeeded", "failed", "retrying", "cancelling", "running"},
    "retrying": {"running", "cancelled", "failed"},
    "cancelling": {"cancelled", "succeeded", "failed"},
    "failed": {"queued"},
    "cancelled": {"queued"},
    "succeeded": set(),
}


def task(**more: object) -> Task:
    return new_task("acme", "ingestion", {"document_id": "d"}, NOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(TaskStatus, TaskStatus)))
def test_only_the_contracts_transitions_are_legal(before: TaskStatus, after: TaskStatus) -> None:
    row = task().model_copy(update={"status": before})
    if after in LEGAL[before]:
        assert row.to(after, NOW).status == after
    else:
        with pytest.raises(Conflict):
            row.to(after, NOW)


@given(st.lists(st.sampled_from(list(TaskStatus)), max_size=12))
def test_whatever_happens_the_row_stays_consistent(wanted: list[TaskStatus]) -> None:
    row, events = task(webhook_url=URL), 0
    for step, status in enumerate(wanted):
        if status not in TRANSITIONS[row.status]:
            continue
        row = row.to(status, NOW + timedelta(seconds=step), owner="o" if status == "running" else None)
        assert (row.finished_at is not None) == row.final == (row.status in FINAL)
        assert row.owner is None or row.status in {"running", "cancelling"}
        assert len(row.events) >= events
        assert [event.sequence for event in row.events] == sorted({event.sequence for event in row.events})
        events = len(row.events)


def test_an_event_is_the_task_as_it_was_and_tells_no_secret() -> None:
    done = task(webhook_url=URL).to(TaskStatus.RUNNING, NOW).to(TaskStatus.SUCCEEDED, NOW)
    assert [event.type for event in done.events] == ["task.queued", "task.started", "task.succeeded"]
    event = done.events[-1]
    assert (event.type, event.sequence, event.data["sequence"]) == ("task.succeeded", 3, 3)
    assert event.data["status"] == "succeeded" and "payload" not in event.data
    assert "secret-path" not in event.model_dump_json() and "hidden" not in event.model_dump_json()


def test_a_task_whose_events_nobody_wants_needs_no_attention_at_its_end() -> None:
    done = task().to(TaskStatus.CANCELLED, NOW)
    assert done.sequence == 2 and done.needs_attention
    assert not done.model_copy(update={"events": ()}).needs_attention


def test_what_is_ours_is_not_shown() -> None:
    shown = task(webhook_url=URL).to(TaskStatus.RUNNING, NOW, owner="me", lease_until=NOW).public()
    assert set(shown).isdisjoint(
        {"owner", "lease_until", "seq", "events", "letter", "result_blob", "check_at"}
    )
    assert shown["webhook"] == {"url": URL, "status": "pending"}


@pytest.mark.parametrize(
    ("url", "cut"),
    [
        (URL, "https://user.example.com"),
        ("https://user:pass@example.com:8443/x#y", "https://example.com"),
        ("http://[::1]/x", "http://::1"),
    ],
)
def test_origin_cuts_everything_that_may_be_secret(url: str, cut: str) -> None:
    assert origin(url) == cut

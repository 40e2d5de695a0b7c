"""The names of what is measured, and one line for each place where something ends.

docs/operations.md has the same table in words; a test compares the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.errors import DocmillError
from shared.tasks import HELD, Task, TaskStatus
from shared.telemetry import Span, Telemetry

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800)
"""Seconds. A stage may take a moment or as long as an attempt."""
OTHER = "other"

Bounds = Mapping[str, frozenset[str]]
"""By label, the values that it may have. Labels that are not named have few values by their nature."""


@dataclass(frozen=True)
class Metric:
    kind: Literal["counter", "histogram"]
    labels: tuple[str, ...]
    help: str


METRICS = {
    "docmill_tasks_total": Metric(
        "counter", ("task_type", "client", "outcome"), "Attempts and waiting tasks that ended, by outcome."
    ),
    "docmill_task_seconds": Metric("histogram", ("task_type",), "Seconds of one attempt."),
    "docmill_stage_seconds": Metric("histogram", ("task_type", "stage"), "Seconds of one stage."),
    "docmill_queue_seconds": Metric("histogram", ("task_type",), "Seconds from due to claimed."),
    "docmill_retries_total": Metric(
        "counter", ("code",), "Attempts that are made again, by what ended them."
    ),
    "docmill_leases_taken_over_total": Metric("counter", ("client",), "Tasks whose worker had vanished."),
    "docmill_conversions_total": Metric("counter", ("format", "outcome"), "Files read, by format."),
    "docmill_pages_total": Metric("counter", (), "Pages read."),
    "docmill_chunks_total": Metric("counter", (), "Chunks made."),
    "docmill_tokens_total": Metric("counter", ("kind",), "Tokens that models were paid for."),
    "docmill_webhook_attempts_total": Metric("counter", ("outcome",), "Requests to receivers of webhooks."),
    "docmill_webhooks_disabled_total": Metric("counter", ("reason",), "Webhooks that were disabled."),
    "docmill_dead_letters_total": Metric("counter", ("reason",), "Dead letters recorded."),
}


class Bounded:
    """Keeps labels within their bounds: a value that nobody knows is `other`."""

    def __init__(self, telemetry: Telemetry, bounds: Bounds) -> None:
        self.span = telemetry.span
        self.close = telemetry.close
        self._telemetry = telemetry
        self._bounds = bounds

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self._telemetry.count(name, amount, **self._within(labels))

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        self._telemetry.observe(name, seconds, **self._within(labels))

    def _within(self, labels: Mapping[str, str]) -> dict[str, str]:
        bounds = self._bounds
        return {
            name: value if name not in bounds or value in bounds[name] else OTHER
            for name, value in labels.items()
        }


def claimed(telemetry: Telemetry, before: Task, after: Task) -> None:
    """A task was taken for an attempt: how long it had been due, and whether from a worker that vanished."""
    due = before.next_attempt_at or before.lease_until or before.updated_at
    waited = max(0.0, (after.updated_at - due).total_seconds())
    telemetry.observe("docmill_queue_seconds", waited, task_type=before.task_type)
    with telemetry.span("queue", traceparent=before.traceparent, since=due, **about(after)):
        pass
    if before.status in HELD:
        telemetry.count("docmill_leases_taken_over_total", client=before.client_id)


@contextmanager
def attempt(telemetry: Telemetry, task: Task) -> Iterator[Span]:
    """Around one attempt of a task that was claimed."""
    began, name = time.monotonic(), f"task {task.task_type}"
    try:
        with telemetry.span(name, traceparent=task.traceparent, since=None, **about(task)) as span:
            yield span
    finally:
        telemetry.observe("docmill_task_seconds", time.monotonic() - began, task_type=task.task_type)


def stage(telemetry: Telemetry, task: Task, name: str, since: datetime, seconds: float, failed: str) -> None:
    """A stage has ended. `failed`: what ended it, empty when it is done."""
    telemetry.observe("docmill_stage_seconds", seconds, task_type=task.task_type, stage=name)
    with telemetry.span(f"stage {name}", traceparent=task.traceparent, since=since, stage=name) as span:
        if failed:
            span.fail(failed)


@contextmanager
def conversion(telemetry: Telemetry, fmt: str) -> Iterator[None]:
    """Around the reading of a file."""
    outcome = "succeeded"
    try:
        yield
    except BaseException as error:
        outcome = error.code if isinstance(error, DocmillError) else "stopped"
        raise
    finally:
        telemetry.count("docmill_conversions_total", format=fmt, outcome=outcome)


def ended(telemetry: Telemetry, task: Task) -> None:
    """An attempt has ended, or a task that waited. Nothing is counted for a task that still runs."""
    if task.final or task.status is TaskStatus.RETRYING:
        labels = {"task_type": task.task_type, "client": task.client_id}
        telemetry.count("docmill_tasks_total", outcome=task.status.value, **labels)
    if task.status is TaskStatus.RETRYING and task.error is not None:
        telemetry.count("docmill_retries_total", code=task.error.code)


def reason_of(error: BaseException | None) -> str:
    """What ended something, as a code of ours or the name of the exception: never its text."""
    if error is None:
        return ""
    return error.code if isinstance(error, DocmillError) else type(error).__name__


def about(task: Task) -> dict[str, str | int]:
    """Attributes of a span about a task."""
    return {
        "task_id": task.task_id,
        "client_id": task.client_id,
        "task_type": task.task_type,
        "attempt": task.attempt,
    }


def codes() -> frozenset[str]:
    """Of every error that there is."""
    found, left = {DocmillError.code}, [DocmillError]
    while left:
        kinds = left.pop().__subclasses__()
        found |= {kind.code for kind in kinds}
        left += kinds
    return frozenset(found)

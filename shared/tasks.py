"""A task, its states and the transitions that are legal between them.

Everything here is a value: `Task.to(...)` gives the next state, nobody's row is touched. The table of
transitions is the public contract's.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from shared.errors import Conflict

TASK_ID_PATTERN = r"^[a-z0-9][a-z0-9-]{7,47}$"


class TaskStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED})
HELD = frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLING})
"""States in which a worker holds a lease on the task."""
LEFT_BEHIND = timedelta(days=1)
"""How long checkpoints and results of given up attempts are kept after the end of their task."""

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.RUNNING,  # taken over, after its lease ran out
            TaskStatus.SUCCEEDED,
            TaskStatus.FAILED,
            TaskStatus.RETRYING,
            TaskStatus.CANCELLING,
        }
    ),
    TaskStatus.RETRYING: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.CANCELLING: frozenset({TaskStatus.CANCELLED, TaskStatus.SUCCEEDED, TaskStatus.FAILED}),
    TaskStatus.SUCCEEDED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.QUEUED}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.QUEUED}),
}

EVENT_OF = {
    TaskStatus.QUEUED: "task.queued",
    TaskStatus.RUNNING: "task.started",
    TaskStatus.RETRYING: "task.retrying",
    TaskStatus.SUCCEEDED: "task.succeeded",
    TaskStatus.FAILED: "task.failed",
    TaskStatus.CANCELLED: "task.cancelled",
}
URL_EVENTS = frozenset({"task.succeeded", "task.failed", "task.cancelled"})
"""What a task's own `webhook_url` is told."""


class Value(BaseModel):
    """A small frozen value."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(Value):
    """How far a task is. `percent` is over the whole task and never goes back within an attempt."""

    stage: str
    current: int
    total: int
    percent: int
    message: str


class TaskError(Value):
    code: str
    message: str
    retryable: bool
    stage: str | None = None
    attempt: int


class Webhook(Value):
    url: str
    status: str = "pending"


class Event(Value):
    """Something that the client's systems are told: the task as it was at that transition."""

    type: str
    sequence: int
    timestamp: datetime
    data: dict[str, Any]


class Expiry(Value):
    """That something may be removed from `due` on. It is a nudge: what it names decides whether it is so."""

    due: datetime
    kind: Literal["task", "result", "idempotency", "letter", "upload"]
    id: str
    """Of the task, the hash of the Idempotency-Key, of the dead letter, or of the document."""


class Task(Value):
    """One row of the `tasks` table. `public()` is what callers see of it."""

    task_id: str
    client_id: str
    task_type: str
    status: TaskStatus = TaskStatus.QUEUED
    priority: str = "normal"
    payload: dict[str, Any]
    document_id: str | None = None
    progress: Progress | None = None
    attempt: int = 0
    max_attempts: int = 5
    next_attempt_at: datetime | None = None
    dead_lettered: bool = False
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime
    error: TaskError | None = None
    result_blob: str | None = None
    result_until: datetime | None = None
    """Not shown: when the result's time is up."""
    webhook: Webhook | None = None

    # Ours alone.
    source_etag: str | None = None
    """Of the file that this task works on, as the first attempt that saw it found it."""
    seq: int = 1
    """Raised whenever the task is meant to run again; a message with a smaller one is out of date."""
    owner: str | None = None
    lease_until: datetime | None = None
    committing: bool = False
    """This attempt may have made its work visible: if it is lost, nobody can say that nothing happened."""
    sequence: int = 0
    """How many events this task has had."""
    events: tuple[Event, ...] = ()
    """The outbox: written with the transition that causes them, cleared once they are enqueued."""
    letter: dict[str, Any] | None = None
    """A dead letter that this transition causes, until it is recorded: a part of the outbox."""
    check_at: datetime
    """When the sweep looks at this task, unless it is final and told."""
    checks: int = 0
    failures: dict[str, int] = {}
    """How many attempts each error code has ended since the task was queued."""
    spent: dict[str, int] = {}
    """What all attempts paid for, by kind: tokens of models."""
    expired: bool = False
    """The result was removed because its time was up."""
    traceparent: str | None = None

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def needs_attention(self) -> bool:
        """Whether the sweep has to know of it: there is an `A|` row exactly then."""
        return not self.final or self.has_outbox

    @property
    def has_outbox(self) -> bool:
        return bool(self.events) or self.letter is not None

    @property
    def expiries(self) -> tuple[Expiry, ...]:
        """What of this task will have to go, written with the transition that ends it."""
        if not self.final or self.finished_at is None:
            return ()
        left = Expiry(due=self.finished_at + LEFT_BEHIND, kind="task", id=self.task_id)
        if self.result_until is None:
            return (left,)
        return left, Expiry(due=self.result_until, kind="result", id=self.task_id)

    def leased(self, now: datetime) -> bool:
        return self.status in HELD and self.lease_until is not None and self.lease_until > now

    def to(self, status: TaskStatus, now: datetime, **changes: Any) -> Task:
        """The task after a transition, with the event that it causes in its outbox.

        Raises Conflict when the transition is not legal.
        """
        if status not in TRANSITIONS[self.status]:
            raise Conflict(f"A task that is {self.status} cannot become {status}.")
        held = status in HELD
        changes = {
            "status": status,
            "updated_at": now,
            "finished_at": now if status in FINAL else None,
            "checks": 0,
            **({} if held else {"owner": None, "lease_until": None}),
            **({} if status is TaskStatus.RETRYING else {"next_attempt_at": None}),
            **changes,
        }
        after = self.model_copy(update=changes)
        event = EVENT_OF.get(status)
        return after.with_event(event, now) if event else after

    def with_event(self, event_type: str, now: datetime) -> Task:
        """The same task with one more event in its outbox."""
        after = self.model_copy(update={"sequence": self.sequence + 1})
        if self.webhook is not None and event_type in URL_EVENTS:
            after = after.model_copy(update={"webhook": Webhook(url=self.webhook.url)})
        event = Event(type=event_type, sequence=after.sequence, timestamp=now, data=after.snapshot())
        return after.model_copy(update={"events": (*self.events, event)})

    def public(self) -> dict[str, Any]:
        """The Task of the public contract, as JSON values."""
        shown = self.model_dump(mode="json", include=_PUBLIC)
        succeeded = self.status is TaskStatus.SUCCEEDED
        shown["result_url"] = f"/api/tasks/{self.task_id}/result" if succeeded else None
        return {name: shown[name] for name in _ORDER}

    def snapshot(self) -> dict[str, Any]:
        """The Task as a webhook tells it: no payload, the URL cut to scheme and host, with `sequence`."""
        data = self.public()
        del data["payload"]
        if self.webhook is not None:
            data["webhook"] = {"url": origin(self.webhook.url), "status": self.webhook.status}
        return {**data, "sequence": self.sequence}


_ORDER = (
    "task_id", "client_id", "task_type", "status", "priority", "payload", "document_id", "progress",
    "attempt", "max_attempts", "next_attempt_at", "dead_lettered", "created_at", "started_at",
    "finished_at", "updated_at", "error", "result_url", "webhook",
)  # fmt: skip
_PUBLIC = set(_ORDER) - {"result_url"}


def origin(url: str) -> str:
    """Scheme and host of a URL, without the path, query or user that may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"


def new_task_id() -> str:
    return f"task-{secrets.token_hex(12)}"


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_task(
    client_id: str,
    task_type: str,
    payload: dict[str, Any],
    now: datetime,
    *,
    task_id: str | None = None,
    document_id: str | None = None,
    webhook_url: str | None = None,
    max_attempts: int = 5,
    check_after: timedelta = timedelta(minutes=1),
    traceparent: str | None = None,
) -> Task:
    """A task that has just been accepted."""
    task = Task(
        task_id=task_id or new_task_id(),
        client_id=client_id,
        task_type=task_type,
        payload=payload,
        document_id=document_id,
        max_attempts=max_attempts,
        created_at=now,
        updated_at=now,
        check_at=now + check_after,
        webhook=Webhook(url=webhook_url) if webhook_url else None,
        traceparent=traceparent,
    )
    return task.with_event(EVENT_OF[TaskStatus.QUEUED], now)

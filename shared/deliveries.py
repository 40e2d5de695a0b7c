"""A delivery: one event on its way to one receiver, with every attempt at it.

Values alone. The record is the truth; a message on the deliveries queue only says when to look at it.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from shared.tasks import Event, Task, Value, origin

KEPT: Final = timedelta(days=30)
ATTEMPTS_KEPT: Final = 10
"""Of each delivery, the latest: a record must fit into a row however often it is sent again."""
LONGEST_RETRY_AFTER: Final = 24 * 3600.0
LONGEST_DELAY: Final = 7 * 24 * 3600.0
"""A queue keeps no message back for longer, and refuses one that should be."""

FailureKind = Literal[
    "dns_error",
    "connection_refused",
    "connection_error",
    "tls_error",
    "timeout",
    "blocked_address",
    "http_status",
    "signing_failed",
]
Reason = Literal["out_of_attempts", "gone", "webhook_disabled", "webhook_deleted", "task_deleted"]
Status = Literal["pending", "delivered", "failed"]


class DeliveryAttempt(Value):
    """One HTTP request. `failure` is None for a success; `response` is at most 1 KiB of what came back."""

    attempt: int
    at: datetime
    status_code: int | None
    failure: FailureKind | None
    duration_ms: int
    response: str | None


class Delivery(Value):
    """One event for one receiver. `delivery_id` is the `webhook-id` header of all its attempts."""

    delivery_id: str
    client_id: str
    webhook_id: str | None
    """None: the task's own `webhook_url`."""
    receiver: str
    """The key of the Receiver."""
    task_id: str | None
    """None for an example that was asked for."""
    type: str
    sequence: int
    url: str
    """Scheme and host alone: the rest may hold a secret."""
    body: str
    """The exact bytes that are signed and sent, as text."""
    status: Status = "pending"
    reason: Reason | None = None
    """Why it failed for good."""
    created_at: datetime
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
    made: int = 0
    """How many attempts there were, whether or not they are still in `attempts`."""
    before: int = 0
    """How many of them were before it was last sent again by hand: the schedule starts anew."""
    once: bool = False
    """An example: one attempt and no more."""
    attempts: tuple[DeliveryAttempt, ...] = ()
    traceparent: str | None = None
    """The trace of its task."""

    @property
    def pending(self) -> bool:
        return self.status == "pending"

    def after(self, attempt: DeliveryAttempt, next_at: datetime | None, reason: Reason | None) -> Delivery:
        """With one more attempt: delivered, due again at `next_at`, or failed for `reason`."""
        ok = attempt.failure is None
        changes: dict[str, Any] = {
            "made": self.made + 1,
            "attempts": (*self.attempts, attempt)[-ATTEMPTS_KEPT:],
            "status": "delivered" if ok else "pending" if next_at else "failed",
            "reason": None if ok or next_at else reason,
            "next_attempt_at": None if ok else next_at,
            "finished_at": attempt.at if ok or not next_at else None,
        }
        return self.model_copy(update=changes)

    def given_up(self, reason: Reason, now: datetime) -> Delivery:
        """Failed without another attempt."""
        changes = {"status": "failed", "reason": reason, "next_attempt_at": None, "finished_at": now}
        return self.model_copy(update=changes)

    def again(self, now: datetime) -> Delivery:
        """Sent once more by hand, with the whole schedule before it."""
        changes = {"status": "pending", "reason": None, "next_attempt_at": now, "finished_at": None,
                   "before": self.made}  # fmt: skip
        return self.model_copy(update=changes)

    def public(self) -> dict[str, Any]:
        """What its client sees, as JSON values."""
        shown = self.model_dump(mode="json", include=set(_PUBLIC))
        shown["attempt_count"] = self.made
        return {name: shown[name] for name in _PUBLIC}


_PUBLIC = (
    "delivery_id", "webhook_id", "task_id", "type", "sequence", "url", "status", "reason", "created_at",
    "next_attempt_at", "finished_at", "attempt_count", "attempts",
)  # fmt: skip


def delivery_of(task: Task, event: Event, *, webhook_id: str | None, receiver: str, url: str) -> Delivery:
    """What one receiver is told of an event. `url`: where to, of which the record keeps scheme and host."""
    return Delivery(
        delivery_id=message_id(task, event, webhook_id or url),
        client_id=task.client_id,
        webhook_id=webhook_id,
        receiver=receiver,
        task_id=task.task_id,
        type=event.type,
        sequence=event.sequence,
        url=origin(url),
        body=body_of(event),
        created_at=event.timestamp,
        next_attempt_at=event.timestamp,
        traceparent=task.traceparent,
    )


def body_of(event: Event) -> str:
    """The JSON that is sent: type, timestamp, data."""
    told = event.model_dump(mode="json")
    body = {"type": event.type, "timestamp": told["timestamp"], "data": event.data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def message_id(task: Task, event: Event, endpoint: str) -> str:
    """The same for every delivery of this event to this endpoint, another one for every other."""
    parts = (task.client_id, task.task_id, event.type, str(event.sequence), endpoint)
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def retry_delay(
    delivery: Delivery, schedule: tuple[float, ...], *, retry_after: float | None, chance: float
) -> float | None:
    """Seconds until the attempt after the one that just failed; None when there is none left.

    `chance` in [0, 1) spreads each step of the schedule by a tenth either way. A `retry_after` that is longer
    is respected, up to a day.
    """
    tried = delivery.made - delivery.before
    if delivery.once or tried >= len(schedule):
        return None
    spread = schedule[tried] * (0.9 + 0.2 * chance)
    return min(max(spread, min(retry_after or 0.0, LONGEST_RETRY_AFTER)), LONGEST_DELAY)

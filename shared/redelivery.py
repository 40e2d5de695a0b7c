"""Sending again: one delivery, everything that failed since a moment, or an example to try."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import datetime

from shared import webhooks
from shared.deliveries import KEPT, Delivery, body_of
from shared.errors import Conflict, InvalidPayload, NotFound
from shared.outbox import again, announce
from shared.ports import Services
from shared.subscriptions import EVENT_TYPES, Subscription, matches
from shared.tasks import EVENT_OF, Event, Task, TaskError, TaskStatus, new_task, origin, utc_now

AT_ONCE = 1000
BUDGET_SECONDS = 20.0
"""A request to recover ends after this many deliveries or seconds, and says whether there is more."""
EXAMPLE_ID = "task-example"


@dataclass(frozen=True)
class Recovery:
    """`complete`: nothing is left. If not, the same request goes on where this one stopped."""

    recovered: int
    complete: bool


def find(services: Services, client_id: str, delivery_id: str) -> Delivery:
    """Raises NotFound, also for what belongs to another client."""
    stored = services.deliveries.get(client_id, delivery_id)
    if stored is None:
        raise NotFound("There is no delivery of this id.")
    return stored.value


def redeliver(services: Services, client_id: str, delivery_id: str) -> Delivery:
    """The delivery as it is then: pending, unless it was sent already.

    Raises NotFound, and Conflict when its webhook is disabled or deleted.
    """
    delivery = find(services, client_id, delivery_id)
    if delivery.webhook_id is not None:
        _open(services, client_id, delivery.webhook_id)
    return again(services, client_id, delivery_id) or delivery


def recover(services: Services, client_id: str, webhook_id: str, since: datetime) -> Recovery:
    """Everything that failed for good among what happened at `since` or later, the oldest first.

    `since` may be any moment with a time zone: older records than those of KEPT are on their way out.
    Raises NotFound, and Conflict when the webhook is disabled.
    """
    webhooks.find(services, client_id, webhook_id)
    _open(services, client_id, webhook_id)
    until, done, now = time.monotonic() + BUDGET_SECONDS, 0, utc_now()
    since = min(max(since, now - KEPT), now)
    failed = services.deliveries.failed_since(client_id, webhook_id, since, AT_ONCE + 1)
    for delivery_id in failed[:AT_ONCE]:
        if time.monotonic() > until:
            return Recovery(done, complete=False)
        again(services, client_id, delivery_id)
        done += 1
    return Recovery(done, complete=len(failed) <= AT_ONCE)


def example(services: Services, client_id: str, webhook_id: str, event_type: str | None = None) -> Delivery:
    """An example of an event, signed and sent like a real one, once. Its `data` says that it is one.

    Raises NotFound, Conflict when the webhook is disabled, InvalidPayload for a type that there is not.
    """
    webhook = webhooks.find(services, client_id, webhook_id)
    _open(services, client_id, webhook_id)
    if event_type is not None and event_type not in EVENT_TYPES:
        raise InvalidPayload(f"There is no such event type. There are {', '.join(EVENT_TYPES)}.")
    event = _example_event(client_id, event_type or _first_type(webhook))
    return announce(
        services,
        Delivery(
            delivery_id=f"msg_{secrets.token_hex(16)}",
            client_id=client_id,
            webhook_id=webhook_id,
            receiver=webhook_id,
            task_id=None,
            type=event.type,
            sequence=event.sequence,
            url=origin(webhook.url),
            body=body_of(event),
            created_at=event.timestamp,
            next_attempt_at=event.timestamp,
            once=True,
        ),
    )


def _open(services: Services, client_id: str, webhook_id: str) -> None:
    """Raises Conflict when nothing can be sent to this webhook."""
    stored = services.subscriptions.get(client_id, webhook_id)
    if stored is None:
        raise Conflict("The webhook of this delivery was deleted.")
    if not stored.value.enabled:
        raise Conflict('The webhook is disabled. Enable it first: PATCH with {"enabled": true}.')


def _first_type(webhook: Subscription) -> str:
    """Of what it is told, the type that says most."""
    wanted = [name for name in EVENT_TYPES if any(matches(given, name) for given in webhook.event_types)]
    return "task.succeeded" if "task.succeeded" in wanted else wanted[0]


def _example_event(client_id: str, event_type: str) -> Event:
    task = _example_task(client_id, next(status for status, name in EVENT_OF.items() if name == event_type))
    event = task.events[-1]
    return event.model_copy(update={"data": {**event.data, "example": True}})


def _example_task(client_id: str, status: TaskStatus) -> Task:
    """A task that has come to that state, by the transitions that lead there."""
    now = utc_now()
    task = new_task(client_id, "ingestion", {}, now, task_id=EXAMPLE_ID, document_id="doc-example")
    if status is TaskStatus.QUEUED:
        return task
    if status is TaskStatus.CANCELLED:
        return task.to(status, now)
    task = task.to(TaskStatus.RUNNING, now, attempt=1, started_at=now)
    if status is TaskStatus.RUNNING:
        return task
    failed = status in {TaskStatus.FAILED, TaskStatus.RETRYING}
    error = TaskError(code="model_unavailable", message="An example.", retryable=True, attempt=1)
    return task.to(status, now, error=error if failed else None)

"""Accepting a task: validate, write the row, enqueue.

What is wrong with a request ends here and never on a queue. Once the row is written the task is accepted:
when the queue is out of reach at that moment, the sweep enqueues it later.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ValidationError

import handlers
from shared import outbox
from shared.errors import Conflict, IdempotencyConflict, RateLimited, StorageUnavailable, Unavailable
from shared.handler import Handler
from shared.logs import about
from shared.messages import (
    LARGE_PAYLOAD_BYTES,
    MAX_MESSAGE_BYTES,
    TaskMessage,
    invalid_payload,
    payload_size,
)
from shared.names import tasks_queue
from shared.ports import IdempotencyRecord, RowExists, Services
from shared.tasks import Task, new_task, utc_now

log = logging.getLogger(__name__)
RETRY_AFTER_SECONDS = 10


@dataclass(frozen=True)
class Submission:
    """What a client asks for."""

    task_type: str
    payload: dict[str, Any]
    webhook_url: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None

    def canonical_hash(self) -> str:
        """SHA-256 of the request in one spelling: equal requests have equal hashes."""
        body = {"task_type": self.task_type, "payload": self.payload, "webhook_url": self.webhook_url}
        return _hash(json.dumps(body, sort_keys=True, separators=(",", ":")))


@dataclass(frozen=True)
class Accepted:
    """`created` is False when an Idempotency-Key found the task of an earlier request."""

    task: Task
    created: bool


def submit(services: Services, client_id: str, submission: Submission) -> Accepted:
    """Raises UnknownTaskType, InvalidPayload, PayloadTooLarge, IdempotencyConflict, RateLimited,
    Unavailable."""
    with services.telemetry.span("submit", traceparent=submission.traceparent, client_id=client_id) as span:
        accepted = _submit(services, client_id, replace(submission, traceparent=span.traceparent))
        span.note(task_id=accepted.task.task_id)
    return accepted


def _submit(services: Services, client_id: str, submission: Submission) -> Accepted:
    payload = validate(services, submission.task_type, submission.payload, submission.webhook_url)
    task = accepted_task(services, client_id, submission, payload)
    record = _record(submission, task)
    admit(services, client_id, record)
    try:
        row = outbox.begin(services, task, lambda told: services.tasks.insert(told, record), unknown=True)
    except RowExists:
        return _repeated(services, client_id, submission, record)
    enqueue(services, row.task, etag=row.etag)
    services.backlog.accepted(client_id)
    return Accepted(row.task, created=True)


def admit(services: Services, client_id: str, record: IdempotencyRecord | None = None) -> None:
    """Raises RateLimited while too many tasks of this client wait; not for a request that is repeated."""
    if not services.backlog.full(client_id):
        return
    if record is None or services.tasks.idempotency(client_id, record.key_hash) is None:
        raise RateLimited(retry_after=RETRY_AFTER_SECONDS)


def validate(
    services: Services, task_type: str, payload: dict[str, Any], webhook_url: str | None
) -> BaseModel:
    """The payload as its handler's own model."""
    handler = handlers.load(task_type)
    if payload_size(payload) > LARGE_PAYLOAD_BYTES:
        log.warning("A payload of more than 16 KiB: large content belongs into a document.")
    if webhook_url is not None:
        services.sender.check(webhook_url)
        if services.settings.secrets_key is None:
            raise Unavailable("This service cannot sign webhooks: its operator has to set SECRETS_KEY.")
    return parsed(handler, payload)


def parsed(handler: Handler, payload: dict[str, Any]) -> BaseModel:
    """Raises InvalidPayload, saying what is wrong where."""
    try:
        return handler.Payload.model_validate(payload)
    except ValidationError as error:
        raise invalid_payload(error, "The payload is not what this task type needs") from error


def accepted_task(
    services: Services,
    client_id: str,
    submission: Submission,
    payload: BaseModel,
    *,
    task_id: str | None = None,
    now: datetime | None = None,
) -> Task:
    settings = services.settings
    document_of = getattr(payload, "document_of", None)
    return new_task(
        client_id,
        submission.task_type,
        submission.payload,
        now or utc_now(),
        task_id=task_id,
        document_id=document_of(client_id) if document_of else None,
        webhook_url=submission.webhook_url,
        max_attempts=settings.task_max_attempts,
        check_after=timedelta(seconds=settings.task_lease_seconds),
        traceparent=submission.traceparent,
    )


def enqueue(services: Services, task: Task, *, delay: float = 0, etag: str | None = None) -> bool:
    """Puts the nudge on the client's queue. False when that failed: the sweep will do it.

    `etag`: of the row, if it holds exactly this task; it spares the worker a read.
    """
    body = TaskMessage.of(task, etag).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        body = TaskMessage.of(task).encode()
    try:
        services.queues.put(tasks_queue(task.client_id), body, delay=delay)
    except StorageUnavailable:
        log.warning("The queue is out of reach: the sweep will enqueue this task.", extra=about(task))
        return False
    return True


def _record(submission: Submission, task: Task) -> IdempotencyRecord | None:
    if submission.idempotency_key is None:
        return None
    return IdempotencyRecord(
        key_hash=_hash(submission.idempotency_key),
        body_hash=submission.canonical_hash(),
        task_id=task.task_id,
        created_at=task.created_at,
    )


def _repeated(
    services: Services, client_id: str, submission: Submission, record: IdempotencyRecord | None
) -> Accepted:
    """What an Idempotency-Key that was used before leads to."""
    found = services.tasks.idempotency(client_id, record.key_hash) if record else None
    if record is None or found is None:
        raise Conflict("A task of this id exists. Send the request again.")
    if record.created_at > found.expiry.due:
        services.tasks.forget_idempotency(client_id, found)
        return _submit(services, client_id, submission)
    if found.body_hash != record.body_hash:
        raise IdempotencyConflict
    row = services.tasks.get(client_id, found.task_id)
    if row is None:
        raise Conflict("The task of this Idempotency-Key is gone. Use a new key.")
    return Accepted(row.task, created=False)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

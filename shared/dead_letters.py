"""Dead letters: what was given up, in a form that somebody can read and act on."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Literal

from shared.errors import DocmillError
from shared.messages import TaskMessage
from shared.ports import DeadLetter, Services
from shared.tasks import Expiry, Task, utc_now

TEXT_LIMIT = 4096
KEPT = timedelta(days=90)
Reason = Literal["invalid_message", "out_of_attempts", "worker_lost"]
_REASONS: dict[str, Reason] = {
    "worker_lost": "worker_lost",
    "invalid_payload": "invalid_message",
    "unknown_task_type": "invalid_message",
}


def record(services: Services, letter: DeadLetter) -> None:
    """Keeps a letter until its time is up. First the reminder: a letter without one would never go."""
    due = letter.dead_lettered_at + KEPT
    services.tasks.remind(letter.client_id, Expiry(due=due, kind="letter", id=letter.dead_letter_id))
    services.dead_letters.record(letter)
    if letter.retried_at is None:
        services.telemetry.count("docmill_dead_letters_total", reason=letter.reason)
    else:
        services.dead_letters.retried(letter.client_id, letter.dead_letter_id, letter.retried_at)


def letter_of_message(
    client_id: str, body: bytes, error: DocmillError, message_id: str, inserted_at: datetime | None
) -> DeadLetter:
    """A message that can never work. Its id comes from the queue's, so a redelivery records it once."""
    now = utc_now()
    return DeadLetter(
        dead_letter_id=_id(client_id, "message", message_id),
        client_id=client_id,
        task_id=_named(body, "task_id"),
        task_type=_named(body, "task_type"),
        reason="invalid_message",
        error={"code": error.code, "message": error.message, "retryable": False},
        attempts=0,
        message=_text(body),
        first_seen_at=inserted_at or now,
        dead_lettered_at=now,
    )


def letter_of_task(task: Task, now: datetime) -> DeadLetter:
    """A task that failed for want of attempts or workers. One for each time that it is given up."""
    return DeadLetter(
        dead_letter_id=_id(task.client_id, "task", task.task_id, str(task.seq), str(task.attempt)),
        client_id=task.client_id,
        task_id=task.task_id,
        task_type=task.task_type,
        reason=_REASONS.get(task.error.code if task.error else "", "out_of_attempts"),
        error=task.error.model_dump(mode="json") if task.error else None,
        attempts=task.attempt,
        message=_text(TaskMessage.of(task).encode()),
        first_seen_at=task.created_at,
        dead_lettered_at=now,
    )


def _id(*parts: str) -> str:
    return f"dl-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}"


def _text(body: bytes) -> str:
    """At most 4 KiB of the message as text."""
    return body[:TEXT_LIMIT].decode("utf-8", errors="replace")[:TEXT_LIMIT]


def _named(body: bytes, member: str) -> str | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    value = data.get(member) if isinstance(data, dict) else None
    return value[:64].encode(errors="replace").decode() if isinstance(value, str) else None

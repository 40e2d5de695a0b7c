"""Resubmitting a task that failed or was cancelled: the same task runs again, with all its attempts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from shared import outbox
from shared.dead_letters import letter_of_task
from shared.errors import Conflict, NotFound
from shared.ports import RowChanged, Services
from shared.submission import enqueue
from shared.tasks import Task, TaskStatus, Webhook, utc_now


def resubmit(services: Services, client_id: str, task_id: str) -> Task:
    """The task as it is then: `queued`. Its dead letter is noted as retried.

    Raises NotFound, and Conflict for a task that has not failed and was not cancelled. Of two at once one is
    told Conflict. Once the row is written it is accepted: what fails after that the sweep makes good.
    """
    while True:
        row = services.tasks.get(client_id, task_id)
        if row is None:
            raise NotFound("There is no task of this id.")
        try:
            task = outbox.save(services, row, _queued(services, row.task, utc_now())).task
        except RowChanged:
            continue
        enqueue(services, task)
        return task


def _queued(services: Services, task: Task, now: datetime) -> Task:
    """As new but for its id, its events and what is still to be told of the earlier run."""
    if task.status not in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
        raise Conflict(f"Only a task that failed or was cancelled runs again: this one is {task.status}.")
    settings = services.settings
    return task.to(
        TaskStatus.QUEUED,
        now,
        seq=task.seq + 1,
        attempt=0,
        max_attempts=settings.task_max_attempts,
        failures={},
        committing=False,
        error=None,
        progress=None,
        source_etag=None,
        started_at=None,
        result_blob=None,
        expired=False,
        dead_lettered=False,
        letter=_retried_letter(task, now),
        webhook=Webhook(url=task.webhook.url) if task.webhook else None,
        check_at=now + timedelta(seconds=settings.task_lease_seconds),
    )


def _retried_letter(task: Task, now: datetime) -> dict[str, Any] | None:
    """The letter of the failure, through the outbox: so the note cannot get lost between two stores."""
    if not task.dead_lettered:
        return task.letter
    letter = letter_of_task(task, task.finished_at or now)
    return letter.model_copy(update={"retried_at": now}).model_dump(mode="json")

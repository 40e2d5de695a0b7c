"""Cancelling a task: at once while nobody runs it, by a flag that its worker sees while somebody does."""

from __future__ import annotations

from datetime import datetime

from shared import measures, outbox
from shared.errors import Conflict, NotFound
from shared.ports import RowChanged, Services
from shared.tasks import Task, TaskStatus, utc_now


def cancel(services: Services, client_id: str, task_id: str) -> Task:
    """The task as it is then: `cancelled`, or `cancelling` until its worker has stopped.

    Raises NotFound, and Conflict for a task that has ended.
    """
    while True:
        row = services.tasks.get(client_id, task_id)
        if row is None:
            raise NotFound("There is no task of this id.")
        task = row.task
        if task.final:
            raise Conflict(f"The task has ended: it is {task.status}.")
        after = _stopped(task, utc_now())
        if after == task:
            return task
        try:
            saved = outbox.save(services, row, after).task
        except RowChanged:
            continue
        measures.ended(services.telemetry, saved)
        return saved


def _stopped(task: Task, now: datetime) -> Task:
    """The next state. A worker whose lease ran out is not waited for, unless its work may be visible: then
    the next claim says that it was lost."""
    if task.status is TaskStatus.RUNNING:
        task = task.to(TaskStatus.CANCELLING, now)
    if task.status is TaskStatus.CANCELLING and (task.committing or task.leased(now)):
        return task
    return task.to(TaskStatus.CANCELLED, now)

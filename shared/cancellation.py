"""Cancelling a task: at once while it waits, by a flag that its worker sees while it runs."""

from __future__ import annotations

from shared import webhooks
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
        if task.status is TaskStatus.CANCELLING:
            return task
        running = task.status is TaskStatus.RUNNING
        wanted = TaskStatus.CANCELLING if running else TaskStatus.CANCELLED
        try:
            saved = services.tasks.save(row, task.to(wanted, utc_now()))
        except RowChanged:
            continue
        return webhooks.flush(services, saved).task

"""The sweep: what a timer does so that no task is forgotten, whatever died.

It reads only the `A|` rows that are due, so it costs the same for ten tasks and for ten thousand.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from shared import submission, webhooks
from shared.dead_letters import letter_of_message
from shared.errors import DocmillError, InvalidPayload
from shared.logs import about
from shared.messages import DeliveryMessage, TaskMessage, from_wire
from shared.names import DELIVERIES_QUEUE, poison_queue, tasks_queue
from shared.ports import Received, Row, RowChanged, Services
from shared.runner import refuse, settle_lost
from shared.tasks import utc_now

log = logging.getLogger(__name__)
LOCK_SECONDS = 60
BUDGET_SECONDS = 45.0
"""Below the lock's life: a sweep that has more to do goes on at its next tick."""
LONGEST_CHECK = timedelta(hours=1)
POISON_VISIBILITY = 60


def sweep(services: Services) -> None:
    """One round over all clients. Does nothing when another process is at it."""
    services.prepare_once()
    release = services.lock.acquire("maintenance", LOCK_SECONDS)
    if release is None:
        return
    try:
        until = time.monotonic() + BUDGET_SECONDS
        for client_id in services.settings.client_ids:
            _sweep_client(services, client_id, until)
        _drain_deliveries(services)
    finally:
        release()


def _sweep_client(services: Services, client_id: str, until: float) -> None:
    for task_id in services.tasks.due(client_id, utc_now()):
        if time.monotonic() > until:
            log.warning("The sweep has more to do than it has time for.", extra={"client_id": client_id})
            return
        row = services.tasks.get(client_id, task_id)
        if row is not None:
            _check(services, row)
    poison = poison_queue(tasks_queue(client_id))
    for message in services.queues.receive(poison, 32, POISON_VISIBILITY):
        _bury(services, client_id, message)
        services.queues.delete(poison, message)


def _check(services: Services, row: Row) -> None:
    """Sends what the outbox holds; puts an overdue task back on its queue."""
    row = webhooks.flush(services, row)
    task, now = row.task, utc_now()
    if not task.needs_attention:
        return
    if not task.final and not task.leased(now):
        log.info("Overdue: enqueued again.", extra=about(task))
        submission.enqueue(services, task)
    # Twice as long until the next look, so that a long backlog is not multiplied.
    wait = timedelta(seconds=services.settings.task_lease_seconds) * 2 ** min(task.checks + 1, 12)
    later = {"checks": task.checks + 1, "check_at": now + min(wait, LONGEST_CHECK)}
    try:
        services.tasks.save(row, task.model_copy(update=later))
    except RowChanged:
        return  # somebody is at work on it, and has set its own time


def _bury(services: Services, client_id: str, received: Received) -> None:
    """What the host gave up: a dead letter, and the end of its task unless that lives or has ended."""
    body = received.text.encode()
    try:
        body = from_wire(received.text)
        message = TaskMessage.decode(body)
        if message.client_id not in {None, client_id}:
            raise InvalidPayload("The message names another client than its queue's.")
    except DocmillError as error:
        refuse(services, letter_of_message(client_id, body, error, received.id, received.inserted_at))
        return
    row = services.tasks.get(client_id, message.task_id) if message.task_id else None
    if row is None:
        # Never got as far as a row: somebody has to look at it, so it is kept whole.
        lost = InvalidPayload("The message was given up before its task could be recorded. Send it again.")
        refuse(services, letter_of_message(client_id, body, lost, received.id, received.inserted_at))
        return
    while not (row.task.final or row.task.leased(utc_now()) or message.seq < row.task.seq):
        try:
            log.error("Given up by the host.", extra=about(row.task))
            settle_lost(services, row)
            return
        except RowChanged:
            found = services.tasks.get(client_id, row.task.task_id)
            if found is None:
                return
            row = found


def _drain_deliveries(services: Services) -> None:
    """A delivery that the host gave up goes on in its own schedule."""
    poison = poison_queue(DELIVERIES_QUEUE)
    for received in services.queues.receive(poison, 32, POISON_VISIBILITY):
        try:
            message = DeliveryMessage.decode(from_wire(received.text))
        except DocmillError as error:
            log.warning("A poisoned delivery is not ours: %s", error.message)
        else:
            if not webhooks.again(services, message):
                webhooks.mark_failed(services, message)
        services.queues.delete(poison, received)

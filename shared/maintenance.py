"""The sweep: what a timer does so that no task is forgotten, whatever died.

It reads only rows that are due, so it costs the same for ten tasks and for ten thousand. An idle client costs
two requests, or three each fifth time: its tasks that are due, and one of `CHORES` after the other. With a
client that has something going on it does all of them.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from shared import delivery, outbox, submission
from shared.dead_letters import letter_of_message
from shared.deletion import SOON, clean_up
from shared.deliveries import KEPT
from shared.depths import DepthLines, depth_of_deliveries, depth_of_tasks
from shared.errors import DocmillError, IndexUnavailable, InvalidPayload
from shared.expiry import expire
from shared.logs import about
from shared.messages import DeliveryMessage, TaskMessage, from_wire
from shared.names import DELIVERIES_QUEUE, poison_queue, tasks_queue
from shared.ports import Received, Row, RowChanged, Services
from shared.runner import recorded, refuse, settle_lost
from shared.settings import SettingsError
from shared.tasks import utc_now

log = logging.getLogger(__name__)
LOCK_SECONDS = 60
BUDGET_SECONDS = 45.0
"""Below the lock's life: a sweep that has more to do goes on at its next tick."""
LONGEST_CHECK = timedelta(hours=1)
LOST_AFTER = timedelta(days=1)
"""A delivery may wait for its receiver for hours, with a message on the queue. One that has waited for so
long gets another one, once in this time."""
POISON_VISIBILITY = 60

_depths = DepthLines()


def sweep(services: Services) -> None:
    """One round over all clients. Does nothing when another process is at it for the same clients."""
    services.prepare_once()
    release = services.lock.acquire(lock_name(services.settings.client_ids), LOCK_SECONDS)
    if release is None:
        return
    try:
        until = time.monotonic() + BUDGET_SECONDS
        clients = list(services.settings.client_ids)
        # In another order each time, so that one client's backlog does not starve the same others.
        random.shuffle(clients)
        for client_id in clients:
            _sweep_client(services, client_id, until)
        _sweep_deliveries(services)
        with _isolated(None):
            clean_documents(services, utc_now(), until)
    finally:
        release()


def lock_name(clients: Iterable[str]) -> str:
    """Processes may serve different clients of one account. Their sweeps begin at the same second, so one
    lock for all would always be won by the same, and the clients of the others would never be swept."""
    return "maintenance-" + hashlib.sha256(",".join(sorted(clients)).encode()).hexdigest()[:16]


def _sweep_client(services: Services, client_id: str, until: float) -> None:
    now, busy = utc_now(), False
    with _isolated(client_id):
        busy = check_due(services, client_id, now, until)
    for chore in services.rounds.of(client_id, CHORES, busy=busy):
        with _isolated(client_id):
            busy |= chore(services, client_id, now, until)
    services.rounds.saw(client_id, busy=busy)


def _sweep_deliveries(services: Services) -> None:
    """All clients' deliveries lie on one queue."""
    busy = False
    for chore in services.rounds.of(DELIVERIES_QUEUE, (_drain_deliveries, _tell_deliveries), busy=busy):
        with _isolated(None):
            busy |= chore(services)
    services.rounds.saw(DELIVERIES_QUEUE, busy=busy)


def check_due(services: Services, client_id: str, now: datetime, until: float) -> bool:
    """Looks after tasks; `until` is a monotonic time. Says whether any were due, as chores do of theirs."""
    due = services.tasks.due(client_id, now)
    for task_id in due:
        if time.monotonic() > until:
            log.warning("The sweep has more to do than it has time for.", extra={"client_id": client_id})
            break
        row = services.tasks.get(client_id, task_id)
        if row is not None:
            with _isolated(client_id):
                _check(services, row)
    return bool(due)


def expire_due(services: Services, client_id: str, now: datetime, until: float) -> bool:
    """Removes what is due; `until` is a monotonic time."""
    due = services.tasks.expiring(client_id, now)
    for expiry in due:
        if time.monotonic() > until:
            break
        with _isolated(client_id), suppress(RowChanged):
            expire(services, client_id, expiry, now)
    return bool(due)


def remind_deliveries(services: Services, client_id: str, now: datetime, until: float) -> bool:
    """Goes on with deliveries whose messages got lost, as with a queue that was deleted; `until` is a
    monotonic time."""
    lost = services.deliveries.overdue(client_id, now - LOST_AFTER)
    for delivery_id in lost:
        if time.monotonic() > until:
            break
        with _isolated(client_id), suppress(RowChanged):
            delivery.remind(services, client_id, delivery_id, now)
    return bool(lost)


def expire_deliveries(services: Services, client_id: str, now: datetime, until: float) -> bool:
    """Removes the delivery log of a month ago; `until` is a monotonic time."""
    found = False
    while services.deliveries.expire(client_id, now - KEPT) and time.monotonic() < until:
        found = True
    return found


def drain_poison(services: Services, client_id: str, _: datetime, __: float) -> bool:
    """Settles what a host gave up."""
    poison = poison_queue(tasks_queue(client_id))
    given_up = services.queues.receive(poison, 32, POISON_VISIBILITY)
    for message in given_up:
        with _isolated(client_id):
            _bury(services, client_id, message)
            services.queues.delete(poison, message)
    return bool(given_up)


def tell_depth(services: Services, client_id: str, _: datetime, __: float) -> bool:
    """Old dead letters are nothing that goes on."""
    found = depth_of_tasks(services.queues, services.dead_letters, client_id)
    _depths.tell(found)
    return found.depth > 0


CHORES = (drain_poison, expire_due, remind_deliveries, expire_deliveries, tell_depth)


def clean_documents(services: Services, now: datetime, until: float) -> None:
    """Finishes deletions; `until` is a monotonic time."""
    try:
        due = services.documents.to_clean(services.settings.client_ids, now)
    except SettingsError:
        return  # without an index there are no documents
    except IndexUnavailable:
        log.warning("The index is out of reach: deletions are finished later.")
        return
    for remains in due:
        if time.monotonic() > until:
            return
        with _isolated(remains.document.client_id):
            try:
                again_at = clean_up(services, remains.document, now)
            except Exception:
                services.documents.cleaned(remains, now + SOON)  # behind the others
                raise
            services.documents.cleaned(remains, again_at)


@contextmanager
def _isolated(client_id: str | None) -> Iterator[None]:
    """What goes wrong with one thing must not keep the sweep from the others; the next round tries again."""
    try:
        yield
    except Exception:
        log.exception("A part of the sweep failed.", extra={"client_id": client_id} if client_id else None)


def _check(services: Services, row: Row) -> None:
    """Sends what the outbox holds; puts an overdue task back on its queue."""
    if not row.task.needs_attention:
        return
    task, now = outbox.emptied(services, row.task), utc_now()
    checks, wait = task.checks, timedelta(seconds=services.settings.task_lease_seconds)
    if not task.final and not task.leased(now):
        log.info("Overdue: enqueued again.", extra=about(task))
        submission.enqueue(services, task)
        # Twice as long until the next look, so that a long backlog is not multiplied.
        checks, wait = checks + 1, wait * 2 ** min(checks + 1, 12)
    later = {"checks": checks, "check_at": now + min(wait, LONGEST_CHECK)}
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
    if message.task_id is None:
        # Its row, if there is one, has an id of the message's own, which did not survive: the sweep finds it.
        lost = InvalidPayload("The host gave this message up. If its task does not exist, send it again.")
        refuse(services, letter_of_message(client_id, body, lost, received.id, received.inserted_at))
        return
    known = services.tasks.get(client_id, message.task_id)
    if known is None:
        # It was given up before it had a row. It gets one now, and is due at the next round.
        try:
            recorded(services, client_id, message, received.id)
        except DocmillError as error:
            if error.status >= 500:
                raise
            refuse(services, letter_of_message(client_id, body, error, received.id, received.inserted_at))
        return
    row = known
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


def _drain_deliveries(services: Services) -> bool:
    """A delivery that the host gave up goes on."""
    poison = poison_queue(DELIVERIES_QUEUE)
    given_up = services.queues.receive(poison, 32, POISON_VISIBILITY)
    for received in given_up:
        try:
            message = DeliveryMessage.decode(from_wire(received.text))
        except DocmillError as error:
            log.warning("A poisoned delivery is not ours: %s", error.message)
        else:
            delivery.revive(services, message)
        services.queues.delete(poison, received)
    return bool(given_up)


def _tell_deliveries(services: Services) -> bool:
    found = depth_of_deliveries(services.queues)
    _depths.tell(found)
    return found.depth > 0

"""The outbox of a task: events leave it only after the row was written, so what a receiver is told is true.

A transition and the events that it causes are one write of the row. `flush` makes a delivery of each event
for everybody who wants it, then clears them. Whoever finds a row with events flushes it, and a repetition
does no harm: a delivery has the same id each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from shared import dead_letters
from shared.deliveries import Delivery, delivery_of
from shared.errors import StorageUnavailable
from shared.logs import about
from shared.messages import DeliveryMessage
from shared.names import DELIVERIES_QUEUE
from shared.ports import DeadLetter, Row, RowChanged, Services
from shared.subscriptions import Subscription, origin_key
from shared.tasks import URL_EVENTS, Event, Task, utc_now

log = logging.getLogger(__name__)


def save(services: Services, row: Row, task: Task) -> Row:
    """Writes a transition, then tells of it. Raises RowChanged."""
    return flush(services, services.tasks.save(row, heard(services, task)))


def begin(services: Services, task: Task, write: Callable[[Task], Row], *, unknown: bool) -> Row:
    """Writes a transition of a task that goes on; what nobody seems to want waits in its row.

    There it is found by the next transition that looks, by the first heartbeat, or by the sweep. `unknown`:
    whether somebody is to look who wants it as long as nobody knows. Raises what `write` raises.
    """
    if _may_wait(services, task, unknown=unknown):
        return write(task)
    return flush(services, write(heard(services, task)))


def _may_wait(services: Services, task: Task, *, unknown: bool) -> bool:
    if task.letter is not None or any(_own(task, event) for event in task.events):
        return False
    wanted = [services.audience.wants(task.client_id, event.type) for event in task.events]
    return not any(unknown if one is None else one for one in wanted)


def heard(services: Services, task: Task) -> Task:
    """The task without the events that nobody wants, which spares most tasks the write that clears them.

    Webhooks are read anew each time: from the moment that one is made it hears of everything.
    """
    if all(_own(task, event) for event in task.events):
        return task
    try:
        subscriptions = _subscriptions(services, task)
    except StorageUnavailable:
        return task  # too many events are harmless
    kept = tuple(event for event in task.events if any(_deliveries(task, event, subscriptions)))
    return task.model_copy(update={"events": kept})


def flush(services: Services, row: Row) -> Row:
    """Empties the outbox: records the dead letter, announces the deliveries, then clears both in the row.

    Whatever fails stays in the row, where the sweep finds it; a repetition does no harm.
    """
    if not row.task.has_outbox:
        return row
    try:
        return row if emptied(services, row.task).has_outbox else _clear(services, row)
    except StorageUnavailable:
        _left(row.task)
        return row


def emptied(services: Services, task: Task) -> Task:
    """The task with nothing in its outbox, all of which was told, for whoever writes it next. As it is when
    that fails."""
    if not task.has_outbox:
        return task
    try:
        if task.letter is not None:
            dead_letters.record(services, DeadLetter.model_validate(task.letter))
        tell(services, task)
    except StorageUnavailable:
        _left(task)
        return task
    return task.model_copy(update={"events": (), "letter": None})


def _left(task: Task) -> None:
    log.warning("The outbox could not be emptied: the sweep will do it.", extra=about(task))


def tell(services: Services, task: Task) -> frozenset[int]:
    """Announces the deliveries of all events, and gives the `sequence` of each that is done with.

    Raises StorageUnavailable; a repetition does no harm.
    """
    subscriptions = _subscriptions(services, task) if task.events else []
    for event in task.events:
        for delivery in _deliveries(task, event, subscriptions):
            reconsider(services, announce(services, delivery))
    return frozenset(event.sequence for event in task.events)


def _subscriptions(services: Services, task: Task) -> Sequence[Subscription]:
    found = services.subscriptions.of_client(task.client_id)
    services.audience.saw(task.client_id, found)
    return found


def announce(services: Services, delivery: Delivery) -> Delivery:
    """Writes the record, then the message. What is stored afterwards."""
    stored = services.deliveries.add(delivery).value
    if stored.pending and stored.made == 0:
        services.queues.put(DELIVERIES_QUEUE, DeliveryMessage.of(stored).encode())
    return stored


def again(services: Services, client_id: str, delivery_id: str) -> Delivery | None:
    """Sends a delivery once more. What is stored afterwards: pending, or delivered in the middle of it.

    The message first: it alone brings the delivery back, should we die before the record says so.
    """
    while True:
        stored = services.deliveries.get(client_id, delivery_id)
        if stored is None:
            return None
        message = DeliveryMessage.of(stored.value).model_copy(update={"by_hand": True})
        services.queues.put(DELIVERIES_QUEUE, message.encode())
        try:
            return services.deliveries.save(stored, stored.value.again(utc_now())).value
        except RowChanged:
            found = services.deliveries.get(client_id, delivery_id)
            if found is None:
                return None
            if found.value.made > stored.value.made and found.value.status == "delivered":
                return found.value


def reconsider(services: Services, delivery: Delivery) -> None:
    """Sends what was given up for a webhook that was disabled, if that is enabled by now.

    Who enabled it may have asked for everything that failed, too early to find this.
    """
    if delivery.reason != "webhook_disabled" or delivery.webhook_id is None:
        return
    webhook = services.subscriptions.get(delivery.client_id, delivery.webhook_id)
    if webhook is not None and webhook.value.enabled:
        again(services, delivery.client_id, delivery.delivery_id)


def _deliveries(task: Task, event: Event, subscriptions: Sequence[Subscription]) -> Iterator[Delivery]:
    """One for everybody who wants this event. A webhook that is disabled has it noted, to be recovered."""
    if task.webhook is not None and _own(task, event):
        url = task.webhook.url
        yield delivery_of(task, event, webhook_id=None, receiver=origin_key(url), url=url)
    for webhook in subscriptions:
        if webhook.wants(event.type, event.timestamp):
            name = webhook.webhook_id
            delivery = delivery_of(task, event, webhook_id=name, receiver=name, url=webhook.url)
            yield delivery if webhook.enabled else delivery.given_up("webhook_disabled", event.timestamp)


def _own(task: Task, event: Event) -> bool:
    """Whether the task's own URL is told."""
    return task.webhook is not None and event.type in URL_EVENTS


def _clear(services: Services, row: Row) -> Row:
    sent, recorded = {event.sequence for event in row.task.events}, row.task.letter
    while True:
        left = tuple(event for event in row.task.events if event.sequence not in sent)
        letter = None if row.task.letter == recorded else row.task.letter
        try:
            return services.tasks.save(row, row.task.model_copy(update={"events": left, "letter": letter}))
        except RowChanged:
            found = services.tasks.get(row.task.client_id, row.task.task_id)
            if found is None:
                return row
            row = found

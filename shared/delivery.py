"""One message of the deliveries queue: whether it is its time, sign, post, write down what came of it.

The record is the truth, so a message may come twice, late, or for a delivery that has ended. Before the
record says that an attempt was made, the message of the next one lies on the queue: whoever dies in between
has it sent twice under one `webhook-id`, never not at all.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import gate, outbox, signing, webhooks
from shared.deliveries import Delivery, DeliveryAttempt, FailureKind, Reason, retry_delay
from shared.errors import DocmillError, Unavailable
from shared.logs import traced
from shared.messages import DeliveryMessage
from shared.names import DELIVERIES_QUEUE
from shared.ports import Row, RowChanged, Sent, Services, Stored
from shared.subscriptions import Keyring, Receiver
from shared.tasks import Webhook, utc_now
from shared.telemetry import ids_of

log = logging.getLogger(__name__)
LONGEST_SPREAD = 10.0
"""Times WEBHOOK_COOLDOWN_SECONDS: over so long, at most, they spread who come back to a receiver that was
left alone. Ten thousand of them must not stand in the way of everybody else's deliveries."""
LONGEST_TURN = 3.0
"""The same for one that was busy. It may be healthy, and held by a worker that died: then nobody should wait
much longer than that hold lasts."""
FIRST_SPREAD = 0.3
"""The same for the first time that somebody comes back to a receiver that was left alone."""
THROTTLED = frozenset({429, 503})
"""Answers whose Retry-After is heeded."""
SECOND_CHANCE_SECONDS = 60.0

News = Callable[[Receiver], Receiver]


def deliver(services: Services, body: bytes) -> None:
    """Raises StorageUnavailable alone: then the host tries the message again."""
    try:
        message = DeliveryMessage.decode(body)
    except DocmillError as error:
        log.error("A delivery message is not ours: %s", error.message)
        return
    try:
        with gate.share(message.client_id):
            deliver_now(services, message)
    except gate.Busy as busy:
        _put_off(services, message, busy.seconds)


def deliver_now(services: Services, message: DeliveryMessage) -> None:
    """What the message asks for. Raises Busy and StorageUnavailable, and puts nothing off."""
    held = gate.take(services, message.client_id, message.receiver)
    news: News = _nothing
    try:
        news = _attempt(services, message)
    finally:
        gate.release(services, message.client_id, held, news)
    if news is _orphaned:
        services.subscriptions.remove(message.client_id, message.receiver)


def revive(services: Services, message: DeliveryMessage) -> None:
    """A message that the host gave up: if its delivery is not done, it goes on.

    After its attempt there is nothing to do: the message of the next one lies on the queue, for its own time.
    """
    stored = services.deliveries.get(message.client_id, message.delivery_id)
    if stored is not None and stored.value.pending and message.attempt > stored.value.made:
        body = DeliveryMessage.of(stored.value).encode()
        services.queues.put(DELIVERIES_QUEUE, body, delay=SECOND_CHANCE_SECONDS)


def remind(services: Services, client_id: str, delivery_id: str, now: datetime) -> None:
    """Puts a message of a pending delivery, whose own got lost. If it did not, the second one does nothing.

    Raises RowChanged when somebody is at it.
    """
    stored = services.deliveries.get(client_id, delivery_id)
    if stored is not None and stored.value.pending:
        services.queues.put(DELIVERIES_QUEUE, DeliveryMessage.of(stored.value).encode())
        services.deliveries.save(stored, stored.value.model_copy(update={"next_attempt_at": now}))


def _put_off(services: Services, message: DeliveryMessage, seconds: float) -> None:
    """Comes back when the receiver has cooled down, at a chance time that is spread wider with every time."""
    cooldown = services.settings.webhook_cooldown_seconds
    first, longest = (cooldown * FIRST_SPREAD, LONGEST_SPREAD) if seconds else (1.0, LONGEST_TURN)
    spread = min(first * 2.0**message.deferred, cooldown * longest)
    delay = seconds + _chance() * spread
    later = message.model_copy(update={"deferred": min(message.deferred + 1, 10)})
    services.queues.put(DELIVERIES_QUEUE, later.encode(), delay=max(delay, 1.0))


def _chance() -> float:
    return secrets.randbelow(1000) / 1000


def _nothing(receiver: Receiver) -> Receiver:
    return receiver


def _orphaned(receiver: Receiver) -> Receiver:
    """Its webhook was deleted before: nobody else would remove the row that was made to hold it."""
    return receiver


@dataclass(frozen=True)
class Target:
    url: str
    keyring: Keyring | None
    """None: the client's, which is made on first use."""


def _attempt(services: Services, message: DeliveryMessage) -> News:
    """What was learnt of the receiver."""
    stored = services.deliveries.get(message.client_id, message.delivery_id)
    if stored is None or stored.value.receiver != message.receiver:
        return _nothing
    delivery = stored.value
    if message.attempt <= delivery.made or not (delivery.pending or message.by_hand):
        _mark(services, delivery)  # whoever made the attempt, or gave it up, may have died before
        outbox.reconsider(services, delivery)
        return _nothing
    if not delivery.pending:
        delivery = delivery.again(utc_now())
    target = _target(services, delivery)
    if not isinstance(target, Target):
        given_up = delivery.given_up(target, utc_now())
        _finish(services, stored, given_up)
        outbox.reconsider(services, given_up)
        return _orphaned if target == "webhook_deleted" else _nothing
    sent, now = _post(services, target, delivery), utc_now()
    _settle(services, stored, delivery, target, sent, now)
    return lambda receiver: _fared(services, receiver, delivery, target, sent, now)


def _target(services: Services, delivery: Delivery) -> Target | Reason:
    """Where to, as it is now; or why nowhere."""
    if delivery.webhook_id is None:
        row = services.tasks.get(delivery.client_id, delivery.task_id or "")
        if row is None or row.task.webhook is None:
            return "task_deleted"
        return Target(row.task.webhook.url, None)
    stored = services.subscriptions.get(delivery.client_id, delivery.webhook_id)
    if stored is None:
        return "webhook_deleted"
    return Target(stored.value.url, stored.value.keyring) if stored.value.enabled else "webhook_disabled"


def _post(services: Services, target: Target, delivery: Delivery) -> Sent:
    try:
        keyring = target.keyring or signing.client_keyring(services, delivery.client_id)
        headers = signing.headers(services, keyring, delivery.delivery_id, delivery.body, utc_now())
    except Unavailable as error:
        log.error("A webhook cannot be signed: %s", error.message, extra=_about(delivery))
        return Sent(None, "signing_failed")
    timeout = services.settings.webhook_timeout_seconds
    with services.telemetry.span(
        "webhook",
        traceparent=delivery.traceparent,
        delivery_id=delivery.delivery_id,
        type=delivery.type,
        attempt=delivery.made + 1,
    ) as span:
        if ids_of(span.traceparent):
            headers["traceparent"] = str(span.traceparent)
        sent = services.sender.post(target.url, delivery.body.encode(), headers, timeout=timeout)
        if not sent.ok:
            span.fail(str(sent.status_code or sent.failure))
    return sent


def _settle(
    services: Services,
    stored: Stored[Delivery],
    delivery: Delivery,
    target: Target,
    sent: Sent,
    now: datetime,
) -> None:
    """The next message first, then the record: the other way round a death in between would lose it."""
    failure = _failure(sent)
    delay, reason = _next(services, delivery, sent)
    if delay is not None:
        later = DeliveryMessage.of(delivery).model_copy(update={"attempt": delivery.made + 2})
        services.queues.put(DELIVERIES_QUEUE, later.encode(), delay=delay)
    attempt = DeliveryAttempt(
        attempt=delivery.made + 1,
        at=now,
        status_code=sent.status_code,
        failure=failure,
        duration_ms=round(sent.seconds * 1000),
        response=sent.excerpt,
    )
    due = None if delay is None else now + timedelta(seconds=delay)
    services.telemetry.count("docmill_webhook_attempts_total", outcome=failure or "delivered")
    _log(delivery, attempt, delay)
    if reason == "gone" and delivery.webhook_id is not None:
        # Before the record: after it nobody would look at this answer again.
        webhooks.disable(services, delivery.client_id, delivery.webhook_id, "gone", now, url=target.url)
    _finish(services, stored, delivery.after(attempt, due, reason))


def _failure(sent: Sent) -> FailureKind | None:
    return None if sent.ok else sent.failure or "http_status"


def _next(services: Services, delivery: Delivery, sent: Sent) -> tuple[float | None, Reason | None]:
    """When to try again, or why not."""
    if sent.ok:
        return None, None
    if sent.status_code == 410:
        return None, "gone"
    asked = sent.retry_after if sent.status_code in THROTTLED else None
    schedule = services.settings.webhook_retry_seconds
    delay = retry_delay(delivery, schedule, retry_after=asked, chance=_chance())
    return delay, None if delay is not None else "out_of_attempts"


def _log(delivery: Delivery, attempt: DeliveryAttempt, delay: float | None) -> None:
    if attempt.failure is None:
        log.info("Webhook delivered.", extra=_about(delivery))
        return
    what = attempt.status_code or attempt.failure
    then = f"Next in {delay:.0f} s." if delay is not None else "It was the last."
    log.warning("Webhook attempt %d failed: %s. %s", attempt.attempt, what, then, extra=_about(delivery))


def _finish(services: Services, stored: Stored[Delivery], after: Delivery) -> None:
    """Writes the record, and on the task what became of its own URL."""
    while True:
        try:
            services.deliveries.save(stored, after)
            break
        except RowChanged:
            found = services.deliveries.get(after.client_id, after.delivery_id)
            if found is None or found.value.made >= after.made:
                return  # its time was up, or another worker has written down the same attempt
            if found.value.pending and after.status != "delivered":
                after = _as_wished(services, after)
            stored = found
    _mark(services, after)


def _as_wished(services: Services, delivery: Delivery) -> Delivery:
    """Somebody asked for it in the middle of an attempt, by a message that names that attempt: one more."""
    again = delivery.again(utc_now())
    services.queues.put(DELIVERIES_QUEUE, DeliveryMessage.of(again).encode())
    return again


def _mark(services: Services, delivery: Delivery) -> None:
    """Writes what became of a task's own URL on the task, unless a later event has taken its place."""
    if delivery.webhook_id is not None or delivery.pending:
        return
    current: Row | None = services.tasks.get(delivery.client_id, delivery.task_id or "")
    while current is not None:
        task = current.task
        if task.webhook is None or task.sequence != delivery.sequence:
            return
        if task.webhook.status in {delivery.status, "delivered"}:
            return  # a duplicate that failed does not undo a delivery
        told = task.model_copy(update={"webhook": Webhook(url=task.webhook.url, status=delivery.status)})
        try:
            services.tasks.save(current, told)
            return
        except RowChanged:
            current = services.tasks.get(delivery.client_id, task.task_id)


def _fared(
    services: Services, receiver: Receiver, delivery: Delivery, target: Target, sent: Sent, now: datetime
) -> Receiver:
    """The receiver after an attempt. One that has failed for too long is disabled, after three warnings."""
    if sent.ok:
        return receiver.succeeded()
    if sent.failure == "signing_failed":
        return receiver  # not its fault
    after = _cooled(services, receiver.failed(now), sent, now)
    if delivery.webhook_id is None:
        return after
    percent = after.failing_percent(now, services.settings.webhook_disable_after_seconds)
    level = after.next_level(percent)
    if level is None:
        return after
    if level == 100:
        webhooks.disable(services, delivery.client_id, delivery.webhook_id, "failing", now, url=target.url)
        return after
    told = "Webhook %s has done nothing but fail for %d %% of the time after which it is disabled."
    log.warning(told, delivery.webhook_id, level, extra=_about(delivery))
    return after.model_copy(update={"warning": level})


def _cooled(services: Services, receiver: Receiver, sent: Sent, now: datetime) -> Receiver:
    if sent.failure == "timeout":
        return receiver.timed_out(now, services.settings.webhook_cooldown_seconds)
    if sent.status_code in THROTTLED and sent.retry_after:
        return receiver.throttled(now, sent.retry_after)
    return receiver


def _about(delivery: Delivery) -> dict[str, object]:
    return {"client_id": delivery.client_id, "task_id": delivery.task_id, **traced(delivery.traceparent)}

"""Webhooks by the Standard Webhooks specification 1.0.0: enqueue, sign, deliver.

Events leave a task's outbox only after its row was written, so what a receiver is told is already true.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets

from shared.errors import DocmillError, StorageUnavailable, Unavailable
from shared.logs import about
from shared.messages import DeliveryMessage
from shared.names import DELIVERIES_QUEUE
from shared.ports import DeadLetter, Row, RowChanged, Sent, Services
from shared.tasks import Event, Task, Webhook, utc_now

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 15.0


def client_secret(services: Services, client_id: str) -> str:
    """The client's secret (`whsec_...`), made on first use."""
    stored = services.secrets.get(client_id)
    if stored is None:
        stored = services.secrets.put(client_id, _encrypt(services, _new_secret()), replace=False)
    return _decrypt(services, stored)


def rotate_secret(services: Services, client_id: str) -> str:
    """A new secret for the client, in force at once."""
    secret = _new_secret()
    services.secrets.put(client_id, _encrypt(services, secret), replace=True)
    return secret


def flush(services: Services, row: Row) -> Row:
    """Empties the outbox: records the dead letter, enqueues the events, then clears both in the row.

    Whatever fails stays in the row, where the sweep finds it; a repetition does no harm.
    """
    task = row.task
    if not task.has_outbox:
        return row
    try:
        if task.letter is not None:
            _record(services, DeadLetter.model_validate(task.letter))
        for event in task.events:
            services.queues.put(DELIVERIES_QUEUE, _delivery(task, event).encode())
        return _clear(services, row)
    except StorageUnavailable:
        log.warning("The outbox could not be emptied: the sweep will do it.", extra=about(task))
        return row


def _record(services: Services, letter: DeadLetter) -> None:
    services.dead_letters.record(letter)
    if letter.retried_at is not None:
        services.dead_letters.retried(letter.client_id, letter.dead_letter_id, letter.retried_at)


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


def _delivery(task: Task, event: Event) -> DeliveryMessage:
    url = task.webhook.url if task.webhook else ""
    body = {"type": event.type, "timestamp": event.model_dump(mode="json")["timestamp"], "data": event.data}
    return DeliveryMessage(
        webhook_id=webhook_id(task, event, url),
        client_id=task.client_id,
        task_id=task.task_id,
        sequence=event.sequence,
        body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
    )


def webhook_id(task: Task, event: Event, endpoint: str) -> str:
    """The same for every delivery of this event to this endpoint, another one for every other."""
    parts = (task.client_id, task.task_id, event.type, str(event.sequence), endpoint)
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def deliver(services: Services, body: bytes) -> None:
    """One message of the deliveries queue: sign, post, write down what came of it."""
    try:
        message = DeliveryMessage.decode(body)
    except DocmillError as error:
        log.error("A delivery message is not ours: %s", error.message)
        return
    row = services.tasks.get(message.client_id, message.task_id)
    if row is None or row.task.webhook is None:
        return
    sent = _post(services, row.task.webhook.url, message)
    _settle(services, row, message, sent)


def _post(services: Services, url: str, message: DeliveryMessage) -> Sent:
    from standardwebhooks.webhooks import Webhook as Signer

    now = utc_now()
    secret = client_secret(services, message.client_id)
    headers = {
        "content-type": "application/json",
        "user-agent": "Docmill-Webhooks/1",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(message.webhook_id, now, message.body),
    }
    return services.sender.post(url, message.body.encode(), headers, timeout=TIMEOUT_SECONDS)


def _settle(services: Services, row: Row, message: DeliveryMessage, sent: Sent) -> None:
    if sent.ok:
        log.info("Webhook delivered.", extra=about(row.task))
        _mark(services, row, message, "delivered")
        return
    log.warning(
        "Webhook attempt %d failed: %s",
        message.attempt,
        sent.failure or sent.status_code,
        extra=about(row.task),
    )
    if sent.status_code == 410 or not again(services, message, sent.retry_after):
        _mark(services, row, message, "failed")


def again(services: Services, message: DeliveryMessage, retry_after: float | None = None) -> bool:
    """Enqueues the next attempt of a delivery; False when there is none left."""
    schedule = services.settings.webhook_retry_seconds
    if message.attempt > len(schedule):
        return False
    spread = 0.9 + 0.2 * secrets.randbelow(1000) / 1000
    delay = max(schedule[message.attempt - 1] * spread, min(retry_after or 0, 3600))
    later = message.model_copy(update={"attempt": message.attempt + 1})
    services.queues.put(DELIVERIES_QUEUE, later.encode(), delay=delay)
    return True


def _mark(services: Services, row: Row, message: DeliveryMessage, status: str) -> None:
    """Writes the outcome on the task, unless a later event has taken its place."""
    current: Row | None = row
    while current is not None:
        task = current.task
        if task.webhook is None or task.sequence != message.sequence:
            return
        if task.webhook.status in {status, "delivered"}:
            return  # a duplicate that failed does not undo a delivery
        told = task.model_copy(update={"webhook": Webhook(url=task.webhook.url, status=status)})
        try:
            services.tasks.save(current, told)
            return
        except RowChanged:
            current = services.tasks.get(message.client_id, message.task_id)


def mark_failed(services: Services, message: DeliveryMessage) -> None:
    """No attempt is left for this delivery."""
    row = services.tasks.get(message.client_id, message.task_id)
    if row is not None:
        _mark(services, row, message, "failed")


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _encrypt(services: Services, secret: str) -> str:
    from cryptography.fernet import Fernet

    return Fernet(_key(services)).encrypt(secret.encode()).decode()


def _decrypt(services: Services, ciphertext: str) -> str:
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return Fernet(_key(services)).decrypt(ciphertext.encode()).decode()
    except InvalidToken as error:
        raise Unavailable(
            "SECRETS_KEY is not the key that this webhook secret was encrypted with."
        ) from error


def _key(services: Services) -> str:
    key = services.settings.secrets_key
    if key is None:
        raise Unavailable("Webhooks cannot be signed: set SECRETS_KEY. `docmill secrets-key` makes one.")
    return key.get_secret_value()

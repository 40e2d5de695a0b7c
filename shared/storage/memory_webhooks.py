"""What webhooks keep, in memory: secrets, subscriptions, receivers and deliveries."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Generic, TypeVar

from shared.deliveries import Delivery, Status
from shared.ports import Page, RowChanged, RowExists, Stored
from shared.storage.rows import listing_key, read_cursor, write_cursor
from shared.subscriptions import Keyring, Receiver, Subscription

V = TypeVar("V")


class _Rows(Generic[V]):
    """Values of clients by name, each write guarded by the ETag of the one before."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Stored[V]] = {}
        self._etags = itertools.count(1)
        self._lock = threading.Lock()

    def get(self, client_id: str, name: str) -> Stored[V] | None:
        return self._rows.get((client_id, name))

    def of_client(self, client_id: str) -> list[V]:
        return [row.value for (client, _), row in list(self._rows.items()) if client == client_id]

    def add(self, client_id: str, name: str, value: V) -> Stored[V]:
        """What is stored afterwards."""
        with self._lock:
            return self._rows.get((client_id, name)) or self._write(client_id, name, value)

    def save(self, client_id: str, name: str, stored: Stored[V] | None, value: V) -> Stored[V]:
        """Raises RowChanged, unless what is there is this very value: then the answer to it was lost."""
        with self._lock:
            current = self._rows.get((client_id, name))
            if (current and current.etag) == (stored and stored.etag):
                return self._write(client_id, name, value)
            if current is None or current.value != value:
                raise RowChanged
            return current

    def _write(self, client_id: str, name: str, value: V) -> Stored[V]:
        row = Stored(value, str(next(self._etags)))
        self._rows[client_id, name] = row
        return row

    def remove(self, client_id: str, name: str) -> bool:
        with self._lock:
            return self._rows.pop((client_id, name), None) is not None


class MemorySecretStore:
    """SecretStore."""

    def __init__(self) -> None:
        self._rows: _Rows[Keyring] = _Rows()

    def get(self, client_id: str) -> Stored[Keyring] | None:
        return self._rows.get(client_id, "")

    def add(self, client_id: str, keyring: Keyring) -> Stored[Keyring]:
        return self._rows.add(client_id, "", keyring)

    def save(self, client_id: str, stored: Stored[Keyring], keyring: Keyring) -> Stored[Keyring]:
        return self._rows.save(client_id, "", stored, keyring)


class MemoryReceiverStore:
    """ReceiverStore."""

    def __init__(self) -> None:
        self._rows: _Rows[Receiver] = _Rows()

    def get(self, client_id: str, key: str) -> Stored[Receiver] | None:
        return self._rows.get(client_id, key)

    def of_client(self, client_id: str) -> list[Receiver]:
        found = [receiver for receiver in self._rows.of_client(client_id) if receiver.key.startswith("wh-")]
        return sorted(found, key=lambda receiver: receiver.key)

    def save(self, client_id: str, stored: Stored[Receiver] | None, receiver: Receiver) -> Stored[Receiver]:
        return self._rows.save(client_id, receiver.key, stored, receiver)

    def remove(self, client_id: str, key: str) -> None:
        self._rows.remove(client_id, key)


class MemorySubscriptionStore:
    """SubscriptionStore. A webhook that is removed takes its row in `receivers` with it."""

    def __init__(self, receivers: MemoryReceiverStore) -> None:
        self._rows: _Rows[Subscription] = _Rows()
        self._receivers = receivers

    def add(self, subscription: Subscription) -> Stored[Subscription]:
        row = self._rows.add(subscription.client_id, subscription.webhook_id, subscription)
        if row.value != subscription:
            raise RowExists
        return row

    def get(self, client_id: str, webhook_id: str) -> Stored[Subscription] | None:
        return self._rows.get(client_id, webhook_id)

    def of_client(self, client_id: str) -> list[Subscription]:
        found = self._rows.of_client(client_id)
        return sorted(found, key=lambda subscription: (subscription.created_at, subscription.webhook_id))

    def save(self, stored: Stored[Subscription], subscription: Subscription) -> Stored[Subscription]:
        return self._rows.save(subscription.client_id, subscription.webhook_id, stored, subscription)

    def remove(self, client_id: str, webhook_id: str) -> bool:
        self._receivers.remove(client_id, webhook_id)
        return self._rows.remove(client_id, webhook_id)


class MemoryDeliveryStore:
    """DeliveryStore."""

    def __init__(self) -> None:
        self._rows: _Rows[Delivery] = _Rows()

    def add(self, delivery: Delivery) -> Stored[Delivery]:
        return self._rows.add(delivery.client_id, delivery.delivery_id, delivery)

    def get(self, client_id: str, delivery_id: str) -> Stored[Delivery] | None:
        return self._rows.get(client_id, delivery_id)

    def save(self, stored: Stored[Delivery], delivery: Delivery) -> Stored[Delivery]:
        return self._rows.save(delivery.client_id, delivery.delivery_id, stored, delivery)

    def of_webhook(
        self,
        client_id: str,
        webhook_id: str,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        found = [one for one in self._rows.of_client(client_id) if one.webhook_id == webhook_id]
        wanted = [one for one in found if status in {None, one.status}]
        return _page(f"E|{webhook_id}|", wanted, limit, cursor)

    def of_task(
        self,
        client_id: str,
        task_id: str,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        found = [one for one in self._rows.of_client(client_id) if one.task_id == task_id]
        wanted = [one for one in found if status in {None, one.status}]
        return _page(f"T|{task_id}|", wanted, limit, cursor)

    def failed_since(self, client_id: str, webhook_id: str, since: datetime, limit: int) -> list[str]:
        failed = [
            one
            for one in self._rows.of_client(client_id)
            if one.webhook_id == webhook_id and one.status == "failed" and one.created_at >= since
        ]
        return [one.delivery_id for one in _oldest_first(failed)[:limit]]

    def overdue(self, client_id: str, before: datetime, limit: int = 200) -> list[str]:
        found = [
            (one.next_attempt_at, one.delivery_id)
            for one in self._rows.of_client(client_id)
            if one.pending and one.next_attempt_at is not None and one.next_attempt_at < before
        ]
        return [delivery_id for _, delivery_id in sorted(found)[:limit]]

    def expire(self, client_id: str, before: datetime, limit: int = 200) -> int:
        old = [one for one in self._rows.of_client(client_id) if one.created_at < before]
        due = _oldest_first(old)[:limit]
        return sum(self._rows.remove(client_id, one.delivery_id) for one in due)


def _oldest_first(deliveries: Iterable[Delivery]) -> list[Delivery]:
    return sorted(deliveries, key=lambda one: (one.created_at, one.delivery_id))


def _page(prefix: str, deliveries: Iterable[Delivery], limit: int, cursor: str | None) -> Page[Delivery]:
    """Without bodies, as where a list has rows of its own."""
    start = read_cursor(cursor, prefix) if cursor else prefix
    keyed = {listing_key(prefix, one.created_at, one.delivery_id): one for one in deliveries}
    keys = sorted(key for key in keyed if key > start)
    shown = [keyed[key].model_copy(update={"body": ""}) for key in keys[:limit]]
    return Page(shown, write_cursor(keys[limit - 1]) if len(keys) > limit else None)

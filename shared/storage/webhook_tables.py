"""The table `webhooks`: what a client has set up, and how its receivers fare.

S|client        the keyring of the client
W|webhook_id    a subscription
R|key           a receiver: that of a webhook, or of a task's own URL
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from shared.ports import RowChanged, RowExists, Stored
from shared.storage.accounts import storage_errors
from shared.storage.entities import between, divided, find, inserted, joined, replaced, submit
from shared.storage.rows import END, legal
from shared.storage.tables import WEBHOOKS, Tables
from shared.subscriptions import Keyring, Receiver, Subscription
from shared.tasks import Value

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableEntity

V = TypeVar("V", bound=Value)
_KEYRING = "S|client"


class _Rows(Generic[V]):
    """Rows of one value each, every write guarded by the ETag of the one before."""

    def __init__(self, tables: Tables, model: type[V]) -> None:
        self._tables = tables
        self._model = model

    @property
    def _table(self) -> TableClient:
        return self._tables[WEBHOOKS]

    def get(self, client_id: str, row_key: str) -> Stored[V] | None:
        entity = find(self._table, client_id, row_key)
        return Stored(self._value(entity), str(entity.metadata["etag"])) if entity else None

    def below(self, client_id: str, prefix: str) -> list[V]:
        found = between(self._table, client_id, prefix, prefix + END)
        return [self._value(entity) for entity in found]

    def _value(self, entity: TableEntity) -> V:
        text = joined("value", entity)
        # Before keyrings there was a secret alone, in the property `ciphertext`.
        return self._model.model_validate_json(text) if text else self._model.model_validate(dict(entity))

    def save(self, client_id: str, row_key: str, stored: Stored[V] | None, value: V) -> Stored[V]:
        """A new row without `stored`. Raises RowExists, RowChanged."""
        entity = {"PartitionKey": client_id, "RowKey": row_key, **divided("value", value.model_dump_json())}
        operation = replaced(entity, stored.etag) if stored else inserted(entity)
        try:
            return Stored(value, submit(self._table, [operation]))
        except (RowExists, RowChanged):
            # The answer to our own first try may have been lost, and the SDK's retry then finds it done.
            found = self.get(client_id, row_key)
            if found is None or found.value != value:
                raise
            return found

    def delete(self, client_id: str, row_key: str) -> None:
        """Nothing happens when it is gone."""
        with storage_errors("table"):
            self._table.delete_entity(client_id, row_key)


class AzureSecretStore:
    """SecretStore on Table Storage."""

    def __init__(self, tables: Tables) -> None:
        self._rows = _Rows(tables, Keyring)

    def get(self, client_id: str) -> Stored[Keyring] | None:
        return self._rows.get(client_id, _KEYRING)

    def add(self, client_id: str, keyring: Keyring) -> Stored[Keyring]:
        try:
            return self._rows.save(client_id, _KEYRING, None, keyring)
        except RowExists:
            found = self.get(client_id)
            if found is None:
                raise
            return found

    def save(self, client_id: str, stored: Stored[Keyring], keyring: Keyring) -> Stored[Keyring]:
        return self._rows.save(client_id, _KEYRING, stored, keyring)


class AzureSubscriptionStore:
    """SubscriptionStore on Table Storage."""

    def __init__(self, tables: Tables) -> None:
        self._rows = _Rows(tables, Subscription)

    def add(self, subscription: Subscription) -> Stored[Subscription]:
        return self._rows.save(subscription.client_id, f"W|{subscription.webhook_id}", None, subscription)

    def get(self, client_id: str, webhook_id: str) -> Stored[Subscription] | None:
        return self._rows.get(client_id, f"W|{webhook_id}") if legal(webhook_id) else None

    def of_client(self, client_id: str) -> list[Subscription]:
        found = self._rows.below(client_id, "W|")
        return sorted(found, key=lambda subscription: (subscription.created_at, subscription.webhook_id))

    def save(self, stored: Stored[Subscription], subscription: Subscription) -> Stored[Subscription]:
        return self._rows.save(subscription.client_id, f"W|{subscription.webhook_id}", stored, subscription)

    def remove(self, client_id: str, webhook_id: str) -> bool:
        if self.get(client_id, webhook_id) is None:
            return False
        # The receiver first: whoever dies in between finds the webhook, and removes the rest.
        self._rows.delete(client_id, f"R|{webhook_id}")
        self._rows.delete(client_id, f"W|{webhook_id}")
        return True


class AzureReceiverStore:
    """ReceiverStore on Table Storage."""

    def __init__(self, tables: Tables) -> None:
        self._rows = _Rows(tables, Receiver)

    def get(self, client_id: str, key: str) -> Stored[Receiver] | None:
        return self._rows.get(client_id, f"R|{key}") if legal(key) else None

    def of_client(self, client_id: str) -> list[Receiver]:
        return self._rows.below(client_id, "R|wh-")

    def save(self, client_id: str, stored: Stored[Receiver] | None, receiver: Receiver) -> Stored[Receiver]:
        try:
            return self._rows.save(client_id, f"R|{receiver.key}", stored, receiver)
        except RowExists as error:
            raise RowChanged from error

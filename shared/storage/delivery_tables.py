"""The table `deliveries`. All rows of one delivery are written in one transaction:

    D|delivery_id                            the truth, with the body
    E|webhook_id|inverted time|delivery_id   for the list of its webhook, newest first, without the body
    T|task_id|inverted time|delivery_id      for the list of its task, the same
    F|webhook_id|time|delivery_id            there while it has failed for good: what a recovery looks for
    P|due time|delivery_id                   there while it is pending: what the sweep looks for
    X|time|delivery_id                       what expires, the oldest first; it names the other rows

The time is that of creation, the due time that of the next attempt.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from shared.deliveries import Delivery, Status
from shared.ports import Page, RowChanged, RowExists, Stored
from shared.storage.entities import (
    between,
    deleted,
    divided,
    find,
    inserted,
    joined,
    replaced,
    submit,
    upserted,
)
from shared.storage.rows import END, legal, listing_key, read_cursor, stamp, write_cursor
from shared.storage.tables import DELIVERIES, Tables
from shared.storage.transactions import Entity

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableEntity


class AzureDeliveryStore:
    """DeliveryStore on Table Storage."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @property
    def _table(self) -> TableClient:
        return self._tables[DELIVERIES]

    def add(self, delivery: Delivery) -> Stored[Delivery]:
        truth, *others = _entities(delivery)
        operations = [inserted(truth), *(upserted(entity) for entity in others)]
        while True:
            try:
                return Stored(delivery, submit(self._table, operations))
            except RowExists:
                found = self._read(delivery.client_id, delivery.delivery_id)
                if found is not None:  # otherwise its time was up in this very moment
                    return found

    def get(self, client_id: str, delivery_id: str) -> Stored[Delivery] | None:
        return self._read(client_id, delivery_id) if legal(delivery_id) else None

    def _read(self, client_id: str, delivery_id: str) -> Stored[Delivery] | None:
        entity = find(self._table, client_id, f"D|{delivery_id}")
        return Stored(_delivery(entity), str(entity.metadata["etag"])) if entity else None

    def save(self, stored: Stored[Delivery], delivery: Delivery) -> Stored[Delivery]:
        truth, *others = _entities(delivery)
        gone = set(_beside(stored.value)) - set(_beside(delivery))
        operations = [replaced(truth, stored.etag), *(upserted(entity) for entity in others)]
        operations += [deleted(delivery.client_id, row_key) for row_key in gone]
        try:
            return Stored(delivery, submit(self._table, operations))
        except RowChanged:
            # Our own write may have been the one that changed it, if the answer to it was lost.
            found = self._read(delivery.client_id, delivery.delivery_id)
            if found is None or found.value != delivery:
                raise
            return found

    def of_webhook(
        self,
        client_id: str,
        webhook_id: str,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        return self._page(client_id, "E", webhook_id, status, limit, cursor)

    def of_task(
        self,
        client_id: str,
        task_id: str,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        return self._page(client_id, "T", task_id, status, limit, cursor)

    def _page(
        self, client_id: str, kind: str, owner: str, status: Status | None, limit: int, cursor: str | None
    ) -> Page[Delivery]:
        prefix = f"{kind}|{owner}|"
        start = read_cursor(cursor, prefix) if cursor else prefix
        if not legal(owner):
            return Page([])
        found = between(
            self._table, client_id, start, prefix + END, equal={"status": status}, limit=limit + 1
        )
        more = len(found) > limit
        return Page(
            [_delivery(entity) for entity in found[:limit]],
            write_cursor(found[limit - 1]["RowKey"]) if more else None,
        )

    def failed_since(self, client_id: str, webhook_id: str, since: datetime, limit: int) -> list[str]:
        if not legal(webhook_id):
            return []
        prefix = f"F|{webhook_id}|"
        start, end = prefix + stamp(since), prefix + END
        found = between(self._table, client_id, start, end, limit=limit, select=["RowKey"])
        return [_name(entity) for entity in found]

    def overdue(self, client_id: str, before: datetime, limit: int = 200) -> list[str]:
        found = between(self._table, client_id, "P|", f"P|{stamp(before)}", limit=limit, select=["RowKey"])
        return [_name(entity) for entity in found]

    def expire(self, client_id: str, before: datetime, limit: int = 200) -> int:
        due = between(self._table, client_id, "X|", f"X|{stamp(before)}", limit=limit)
        return sum(self._remove(client_id, entity) for entity in due)

    def _remove(self, client_id: str, expiry: TableEntity) -> bool:
        """False when somebody has removed it, or has written it meanwhile: then it may have other rows."""
        operations = [deleted(client_id, expiry["RowKey"], str(expiry.metadata["etag"]))]
        operations += [deleted(client_id, row_key) for row_key in json.loads(expiry["rows"])]
        try:
            submit(self._table, operations)
        except RowChanged:
            return False
        return True


def _entities(delivery: Delivery) -> list[Entity]:
    """All rows, the truth first. Every write writes them all, so that the expiry is of the same time."""
    client = {"PartitionKey": delivery.client_id}
    shown = {
        **client,
        "status": delivery.status,
        **divided("delivery", delivery.model_dump_json(exclude={"body"})),
    }
    truth = f"D|{delivery.delivery_id}"
    beside = _beside(delivery)
    expiry = f"X|{stamp(delivery.created_at)}|{delivery.delivery_id}"
    return [
        {**shown, "RowKey": truth, **divided("body", delivery.body)},
        *({**(shown if key[0] in "ET" else client), "RowKey": key} for key in beside),
        {**client, "RowKey": expiry, "rows": json.dumps([truth, *beside])},
    ]


def _beside(delivery: Delivery) -> list[str]:
    """Keys of the rows that a delivery has beside its truth and its expiry."""
    created, name = delivery.created_at, delivery.delivery_id
    keys = []
    if delivery.webhook_id is not None:
        keys.append(listing_key(f"E|{delivery.webhook_id}|", created, name))
        if delivery.status == "failed":
            keys.append(f"F|{delivery.webhook_id}|{stamp(created)}|{name}")
    if delivery.task_id is not None:
        keys.append(listing_key(f"T|{delivery.task_id}|", created, name))
    if delivery.pending and delivery.next_attempt_at is not None:
        keys.append(f"P|{stamp(delivery.next_attempt_at)}|{name}")
    return keys


def _name(entity: TableEntity) -> str:
    """The delivery that a row of an index leads to."""
    return str(entity["RowKey"]).rpartition("|")[2]


def _delivery(entity: TableEntity) -> Delivery:
    """Without the body, where the row has none."""
    return Delivery.model_validate({**json.loads(joined("delivery", entity)), "body": joined("body", entity)})

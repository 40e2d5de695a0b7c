"""Tables: tasks, API keys, dead letters. One client is one partition.

The rows of one task, told by their prefix and written in one entity-group transaction:

    T|task_id                the task
    L|inverted time|task_id  the same for listings, newest first; progress and outbox are the T row's
    A|task_id                there while the sweep has to look: not final, or events not sent
    I|hash of the key        which task an Idempotency-Key made
    X|due time|kind|id       what expires, in order of time: one range query finds what is due
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.errors import StorageUnavailable
from shared.ports import ApiKey, DeadLetter, IdempotencyRecord, Page, Row, RowChanged, RowExists
from shared.storage.accounts import storage_errors
from shared.storage.entities import (
    between,
    deleted,
    find,
    inserted,
    replaced,
    submit,
    upserted,
)
from shared.storage.rows import END, inverted, listing_key, read_cursor, stamp, write_cursor
from shared.storage.transactions import Entity, Operation
from shared.tasks import HELD, Expiry, Task, TaskStatus

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableServiceClient

TASKS, KEYS, DEAD_LETTERS, WEBHOOKS, DELIVERIES = "tasks", "apikeys", "deadletters", "webhooks", "deliveries"
ALL_TABLES = (TASKS, KEYS, DEAD_LETTERS, WEBHOOKS, DELIVERIES)
COUNT_LIMIT = 1000


class Tables:
    """The table clients of an account, made once and shared by all threads."""

    def __init__(self, service: TableServiceClient) -> None:
        self._service = service
        self._clients: dict[str, TableClient] = {}

    def __getitem__(self, name: str) -> TableClient:
        client = self._clients.get(name)
        if client is None:
            client = self._clients.setdefault(name, self._service.get_table_client(name))
        return client

    def ensure(self) -> None:
        with storage_errors("table"):
            for name in ALL_TABLES:
                self._service.create_table_if_not_exists(name)

    def ping(self) -> None:
        """Raises StorageUnavailable when the account does not answer, or our tables are not there."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with storage_errors("table"):
                next(iter(self[TASKS].query_entities("PartitionKey eq ''", results_per_page=1)), None)
        except ResourceNotFoundError as error:
            raise StorageUnavailable("The tables are missing: `docmill keys create` makes them.") from error

    def close(self) -> None:
        self._service.close()


class AzureTaskStore:
    """TaskStore on Table Storage."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @property
    def _table(self) -> TableClient:
        return self._tables[TASKS]

    def insert(self, task: Task, idempotency: IdempotencyRecord | None = None) -> Row:
        operations = [inserted(entity) for entity in _entities(task)]
        if idempotency is not None:
            operations.append(inserted(_idempotency_entity(task.client_id, idempotency)))
            operations.append(_reminder(task.client_id, idempotency.expiry))
        try:
            return Row(task, submit(self._table, operations))
        except RowExists:
            # The answer to our own first try may have been lost, and the SDK's retry then says "exists".
            found = self.get(task.client_id, task.task_id)
            if found is None or found.task != task:
                raise
            return found

    def get(self, client_id: str, task_id: str) -> Row | None:
        entity = find(self._table, client_id, f"T|{task_id}")
        return Row(_task(entity), str(entity.metadata["etag"])) if entity else None

    def save(self, row: Row, task: Task) -> Row:
        try:
            return Row(task, submit(self._table, _transition(row, task)))
        except RowChanged:
            # As in insert: our own write may have been the one that changed it.
            found = self.get(task.client_id, task.task_id)
            if found is None or found.task != task:
                raise
            return found

    def touch(self, row: Row, task: Task) -> Row:
        # No retries and little patience: a call must not outlast the lease, and the next beat is the retry.
        beat = replaced(_entities(task)[0], row.etag)
        return Row(task, submit(self._table, [beat], retry_total=0, read_timeout=5))

    def page(
        self,
        client_id: str,
        *,
        status: TaskStatus | None = None,
        task_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Task]:
        start = read_cursor(cursor, "L|") if cursor else "L|"
        equal = {"status": status and str(status), "task_type": task_type}
        found = between(self._table, client_id, start, f"L|{END}", equal=equal, limit=limit + 1)
        tasks = [self._current(_task(entity)) for entity in found[:limit]]
        more = len(found) > limit
        return Page(tasks, write_cursor(found[limit - 1]["RowKey"]) if more else None)

    def _current(self, task: Task) -> Task:
        """A running task's heartbeat goes to its T row alone, so its progress is read there."""
        row = self.get(task.client_id, task.task_id) if task.status in HELD else None
        return (row.task if row else task).model_copy(update={"events": ()})

    def due(self, client_id: str, now: datetime, limit: int = 200) -> list[str]:
        return self._attended(client_id, limit, condition=f" and check_at le '{stamp(now)}'")

    def active(self, client_id: str, document_id: str) -> list[str]:
        return self._attended(client_id, COUNT_LIMIT, equal={"document_id": document_id})

    def _attended(self, client_id: str, limit: int, **where: Any) -> list[str]:
        """Ids of tasks that the sweep looks at."""
        found = between(self._table, client_id, "A|", f"A|{END}", limit=limit, select=["RowKey"], **where)
        return [entity["RowKey"][2:] for entity in found]

    def idempotency(self, client_id: str, key_hash: str) -> IdempotencyRecord | None:
        entity = find(self._table, client_id, f"I|{key_hash}")
        if entity is None:
            return None
        return IdempotencyRecord(key_hash=key_hash, **_only(entity, "body_hash", "task_id", "created_at"))

    def forget_idempotency(self, client_id: str, record: IdempotencyRecord) -> None:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        try:
            with storage_errors("table"):
                found = self._table.get_entity(client_id, f"I|{record.key_hash}")
                if found["created_at"] == stamp(record.created_at):
                    self._table.delete_entity(
                        found, etag=found.metadata["etag"], match_condition=MatchConditions.IfNotModified
                    )
        except (ResourceNotFoundError, ResourceModifiedError):
            return

    def remind(self, client_id: str, expiry: Expiry) -> None:
        with storage_errors("table"):
            self._table.upsert_entity(_expiry_entity(client_id, expiry))

    def expiring(self, client_id: str, now: datetime, limit: int = 200) -> list[Expiry]:
        end = f"X|{stamp(now)}{END}"
        found = between(self._table, client_id, "X|", end, limit=limit, select=["RowKey"])
        return [_expiry(entity["RowKey"]) for entity in found]

    def forget(self, client_id: str, expiry: Expiry) -> None:
        with storage_errors("table"):
            self._table.delete_entity(client_id, _expiry_key(expiry))


class AzureKeyStore:
    """KeyStore on Table Storage."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @property
    def _table(self) -> TableClient:
        return self._tables[KEYS]

    def add(self, key: ApiKey) -> None:
        with storage_errors("table"):
            self._table.create_entity(_key_entity(key))

    def get(self, client_id: str, key_id: str) -> ApiKey | None:
        entity = find(self._table, client_id, key_id)
        return _key(entity) if entity else None

    def of_client(self, client_id: str) -> list[ApiKey]:
        with storage_errors("table"):
            found = self._table.query_entities("PartitionKey eq @client", parameters={"client": client_id})
            return [_key(entity) for entity in found]

    def revoke(self, client_id: str, key_id: str, now: datetime) -> bool:
        from azure.core.exceptions import ResourceNotFoundError

        change = {"PartitionKey": client_id, "RowKey": key_id, "revoked_at": stamp(now)}
        try:
            with storage_errors("table"):
                self._table.update_entity(change)
        except ResourceNotFoundError:
            return False
        return True


class AzureDeadLetterStore:
    """DeadLetterStore on Table Storage, newest first, each letter found again by its own id."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @property
    def _table(self) -> TableClient:
        return self._tables[DEAD_LETTERS]

    def record(self, letter: DeadLetter) -> None:
        """Two rows: `D|id` makes a repetition harmless, `L|time|id` is what is listed."""
        listed = _listed_letter(letter)
        once = {
            "PartitionKey": letter.client_id,
            "RowKey": f"D|{letter.dead_letter_id}",
            "listed": listed["RowKey"],
        }
        try:
            submit(self._table, [inserted(once), inserted(listed)])
        except RowExists:
            return

    def retried(self, client_id: str, dead_letter_id: str, now: datetime) -> bool:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with storage_errors("table"):
                once = self._table.get_entity(client_id, f"D|{dead_letter_id}")
                listed = self._table.get_entity(client_id, once["listed"])
                letter = DeadLetter.model_validate_json(listed["letter"])
                if letter.retried_at is None:
                    # An update, not an upsert: a letter that expires meanwhile does not come back. Whoever
                    # else writes it writes the same but for the time.
                    self._table.update_entity(_listed_letter(letter.model_copy(update={"retried_at": now})))
        except ResourceNotFoundError:
            return False
        return True

    def page(self, client_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        start = read_cursor(cursor, "L|") if cursor else "L|"
        found = between(self._table, client_id, start, f"L|{END}", limit=limit + 1)
        letters = [DeadLetter.model_validate_json(entity["letter"]) for entity in found[:limit]]
        return Page(letters, write_cursor(found[limit - 1]["RowKey"]) if len(found) > limit else None)

    def remove(self, client_id: str, dead_letter_id: str, before: datetime) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        name = f"D|{dead_letter_id}"
        try:
            with storage_errors("table"):
                listed = self._table.get_entity(client_id, name)["listed"]
            if listed > f"L|{inverted(before)}":
                submit(self._table, [deleted(client_id, listed), deleted(client_id, name)])
        except (ResourceNotFoundError, RowChanged):
            return

    def count_open(self, client_id: str) -> int:
        opened, end = {"open": True}, f"L|{END}"
        found = between(self._table, client_id, "L|", end, equal=opened, limit=COUNT_LIMIT, select=["RowKey"])
        return len(found)


def _listed_letter(letter: DeadLetter) -> Entity:
    return {
        "PartitionKey": letter.client_id,
        "RowKey": listing_key("L|", letter.dead_lettered_at, letter.dead_letter_id),
        "letter": letter.model_dump_json(),
        "open": letter.retried_at is None,
    }


def _entities(task: Task) -> list[Entity]:
    """The T row, which alone has the outbox, the L row, and the A row while the sweep has to look. What
    expires has rows of its own."""
    body = {
        "PartitionKey": task.client_id,
        "status": str(task.status),
        "task_type": task.task_type,
        "task": task.model_dump_json(exclude={"payload", "events"}),
        "payload": json.dumps(task.payload, ensure_ascii=False, separators=(",", ":")),
    }
    events = json.dumps([event.model_dump(mode="json") for event in task.events])
    truth = {"RowKey": f"T|{task.task_id}", "events": events}
    listed = {"RowKey": _listing_key(task), "events": "[]"}  # the version before this one reads them here
    entities = [{**body, **truth}, {**body, **listed}]
    if task.needs_attention:
        entities.append(_attention(task))
    return entities


def _attention(task: Task) -> Entity:
    return {
        "PartitionKey": task.client_id,
        "RowKey": f"A|{task.task_id}",
        "check_at": stamp(task.check_at),
        "document_id": task.document_id or "",
    }


def _transition(row: Row, task: Task) -> list[Operation]:
    first, *others = _entities(task)
    operations: list[Operation] = [replaced(first, row.etag)]
    operations += [upserted(entity) for entity in others]
    if row.task.needs_attention and not task.needs_attention:
        operations.append(deleted(task.client_id, _attention(task)["RowKey"]))
    # Only those that are new: what was dealt with does not come back. One that is out of date is harmless.
    new = set(task.expiries) - set(row.task.expiries)
    return operations + [_reminder(task.client_id, expiry) for expiry in new]


def _reminder(client_id: str, expiry: Expiry) -> Operation:
    return upserted(_expiry_entity(client_id, expiry))


def _expiry_entity(client_id: str, expiry: Expiry) -> Entity:
    return {"PartitionKey": client_id, "RowKey": _expiry_key(expiry)}


def _expiry_key(expiry: Expiry) -> str:
    return f"X|{stamp(expiry.due)}|{expiry.kind}|{expiry.id}"


def _expiry(row_key: str) -> Expiry:
    _, due, kind, name = row_key.split("|", 3)
    return Expiry.model_validate({"due": due, "kind": kind, "id": name})


def _task(entity: Entity) -> Task:
    task = json.loads(entity["task"])
    return Task.model_validate(
        {**task, "payload": json.loads(entity["payload"]), "events": json.loads(entity["events"])}
    )


def _idempotency_entity(client_id: str, record: IdempotencyRecord) -> Entity:
    return {
        "PartitionKey": client_id,
        "RowKey": f"I|{record.key_hash}",
        "body_hash": record.body_hash,
        "task_id": record.task_id,
        "created_at": stamp(record.created_at),
    }


def _key_entity(key: ApiKey) -> Entity:
    return {
        "PartitionKey": key.client_id,
        "RowKey": key.key_id,
        "secret_hash": key.secret_hash,
        "created_at": stamp(key.created_at),
    }


def _key(entity: Entity) -> ApiKey:
    return ApiKey(
        key_id=entity["RowKey"],
        client_id=entity["PartitionKey"],
        **_only(entity, "secret_hash", "created_at", "revoked_at"),
    )


def _only(entity: Entity, *names: str) -> Entity:
    return {name: entity[name] for name in names if name in entity}


def _listing_key(task: Task) -> str:
    return listing_key("L|", task.created_at, task.task_id)

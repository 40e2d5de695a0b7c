"""The same storage operations by the SDK alone: what a task costs before anybody has written any code.

Stock clients, one for each service, shared by eight threads. Rows, messages and results are copies of what
Docmill wrote, under names of their own.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

THREADS = 8
CLIENTS = ("bare-one", "bare-two")
BATCH = 2
"""Messages that one request takes, as host.json says."""

Entity = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """Of one task: its row, its message and its result."""

    row: Entity
    message: bytes
    result: bytes


class Bare:
    """Tasks from the beginning to the end, with nothing in between."""

    def __init__(self, connection: str, sample: Sample) -> None:
        from azure.data.tables import TableServiceClient
        from azure.storage.blob import BlobServiceClient
        from azure.storage.queue import QueueServiceClient

        api: dict[str, Any] = {"api_version": "2026-06-06"}  # the newest that the emulator knows
        self._tables = TableServiceClient.from_connection_string(connection)
        self._queues = QueueServiceClient.from_connection_string(connection, **api)
        self._blobs = BlobServiceClient.from_connection_string(connection, **api)
        self._tasks = self._tables.create_table_if_not_exists("baretasks")
        self._webhooks = self._tables.create_table_if_not_exists("barewebhooks")
        self._container = self._blobs.create_container("bare")
        self._queue = {client: self._queues.create_queue(f"{client}-tasks") for client in CLIENTS}
        self._sample = sample
        self._body = base64.b64encode(sample.message).decode()

    @classmethod
    @contextmanager
    def on(cls, connection: str, sample: Sample) -> Iterator[Bare]:
        bare = cls(connection, sample)
        try:
            yield bare
        finally:
            for service in (bare._tables, bare._queues, bare._blobs):
                service.close()

    def run(self, count: int) -> None:
        """`count`: a multiple of BATCH."""
        with ThreadPoolExecutor(THREADS) as pool:
            batches = [pool.submit(self._batch, CLIENTS[n % 2]) for n in range(count // BATCH)]
            for batch in batches:
                batch.result()

    def _batch(self, client: str) -> None:
        rows = [self._submit(client) for _ in range(BATCH)]
        queue = self._queue[client]
        while rows:  # another thread may get this one's messages, and leave its own
            pages = queue.receive_messages(messages_per_page=BATCH, visibility_timeout=600).by_page()
            for message in next(pages, ()):
                self._work(client, *(rows.pop() if rows else self._submit(client)), message)

    def _submit(self, client: str) -> tuple[str, str]:
        """The name of the task, and the ETag of its row."""
        name = f"task-{secrets.token_hex(12)}"
        rows = [self._row(client, kind, name) for kind in "TLA"]
        answers = self._tasks.submit_transaction([("create", row) for row in rows])
        self._queue[client].send_message(self._body, time_to_live=-1)
        return name, str(answers[0]["etag"])

    def _work(self, client: str, name: str, etag: str, message: Any) -> None:
        others = [("upsert", self._row(client, kind, name)) for kind in "LA"]
        row = self._row(client, "T", name)
        answers = self._tasks.submit_transaction([_replaced(row, etag), *others])
        blob = self._container.get_blob_client(f"{client}/results/none/{name}-1-1.json")
        blob.upload_blob(self._sample.result, overwrite=True)
        query = "PartitionKey eq @client and RowKey gt 'W|' and RowKey lt 'W|~'"
        list(self._webhooks.query_entities(query, parameters={"client": client}))
        ended = [
            ("upsert", self._row(client, "L", name)),
            ("delete", {"PartitionKey": client, "RowKey": f"A|{name}"}),
            *(("upsert", {"PartitionKey": client, "RowKey": f"X|{kind}|{name}"}) for kind in ("1", "2")),
        ]
        self._tasks.submit_transaction([_replaced(row, str(answers[0]["etag"])), *ended])
        self._queue[client].delete_message(message)

    def _row(self, client: str, kind: str, name: str) -> Entity:
        """T and L hold the task, A when somebody is to look at it."""
        body = (
            {"check_at": "2026-11-24T00:00:00.000000Z", "document_id": ""}
            if kind == "A"
            else self._sample.row
        )
        return {**body, "PartitionKey": client, "RowKey": f"{kind}|{name}"}


def _replaced(row: Entity, etag: str) -> tuple[Any, ...]:
    from azure.core import MatchConditions

    unchanged = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return ("update", row, {"mode": "replace", **unchanged})

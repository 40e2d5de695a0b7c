"""Everything that storage keeps, in memory: for tests, and for whoever builds on the core without an account.

Each class passes the contract tests of the adapter that it stands for. State lives in the instance.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from shared.errors import BlobNotFound, DocumentChanged, InvalidPayload
from shared.messages import to_wire
from shared.ports import (
    ApiKey,
    BlobInfo,
    DeadLetter,
    IdempotencyRecord,
    Page,
    Received,
    Row,
    RowChanged,
    RowExists,
    UploadGrant,
)
from shared.tasks import Expiry, Task, TaskStatus, utc_now

Name = tuple[str, str]
T = TypeVar("T")


class MemoryTaskStore:
    """TaskStore."""

    def __init__(self) -> None:
        self._rows: dict[Name, Row] = {}
        self._idempotency: dict[Name, IdempotencyRecord] = {}
        self._expiries: set[tuple[str, Expiry]] = set()
        self._etags = itertools.count(1)
        self._lock = threading.Lock()

    def insert(self, task: Task, idempotency: IdempotencyRecord | None = None) -> Row:
        name = (task.client_id, task.task_id)
        with self._lock:
            if idempotency and (task.client_id, idempotency.key_hash) in self._idempotency:
                raise RowExists
            if name in self._rows:
                if self._rows[name].task != task:
                    raise RowExists
                return self._rows[name]
            if idempotency:
                self._idempotency[task.client_id, idempotency.key_hash] = idempotency
                self._expiries.add((task.client_id, idempotency.expiry))
            return self._write(task)

    def get(self, client_id: str, task_id: str) -> Row | None:
        return self._rows.get((client_id, task_id))

    def save(self, row: Row, task: Task) -> Row:
        with self._lock:
            current = self._rows.get((task.client_id, task.task_id))
            if current is None or current.etag != row.etag:
                raise RowChanged
            return self._write(task)

    touch = save

    def _write(self, task: Task) -> Row:
        row, before = Row(task, str(next(self._etags))), self._rows.get((task.client_id, task.task_id))
        new = set(task.expiries) - set(before.task.expiries if before else ())
        self._expiries |= {(task.client_id, expiry) for expiry in new}
        self._rows[task.client_id, task.task_id] = row
        return row

    def page(
        self,
        client_id: str,
        *,
        status: TaskStatus | None = None,
        task_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Task]:
        rows = [row for (client, _), row in list(self._rows.items()) if client == client_id]
        tasks = [row.task.model_copy(update={"events": ()}) for row in rows]
        tasks.sort(key=lambda task: (task.created_at, task.task_id), reverse=True)
        tasks = [
            task for task in tasks if status in {None, task.status} and task_type in {None, task.task_type}
        ]
        return _page(tasks, limit, cursor)

    def due(self, client_id: str, now: datetime, limit: int = 200) -> list[str]:
        tasks = [row.task for (client, _), row in list(self._rows.items()) if client == client_id]
        return [task.task_id for task in tasks if task.needs_attention and task.check_at <= now][:limit]

    def active(self, client_id: str, document_id: str) -> list[str]:
        tasks = [row.task for (client, _), row in list(self._rows.items()) if client == client_id]
        return [task.task_id for task in tasks if task.needs_attention and task.document_id == document_id]

    def idempotency(self, client_id: str, key_hash: str) -> IdempotencyRecord | None:
        return self._idempotency.get((client_id, key_hash))

    def forget_idempotency(self, client_id: str, record: IdempotencyRecord) -> None:
        with self._lock:
            if self._idempotency.get((client_id, record.key_hash)) == record:
                del self._idempotency[client_id, record.key_hash]

    def remind(self, client_id: str, expiry: Expiry) -> None:
        with self._lock:
            self._expiries.add((client_id, expiry))

    def expiring(self, client_id: str, now: datetime, limit: int = 200) -> list[Expiry]:
        with self._lock:
            found = [expiry for client, expiry in self._expiries if client == client_id and expiry.due <= now]
        return sorted(found, key=lambda expiry: (expiry.due, expiry.kind, expiry.id))[:limit]

    def forget(self, client_id: str, expiry: Expiry) -> None:
        with self._lock:
            self._expiries.discard((client_id, expiry))


@dataclass
class _Lying:
    message: Received
    visible_at: float


class MemoryTaskQueue:
    """TaskQueue. Visibility runs on the monotonic clock."""

    def __init__(self) -> None:
        self._queues: dict[str, list[_Lying]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def put(self, queue: str, body: bytes, *, delay: float = 0) -> None:
        message = Received(f"m{next(self._ids)}", to_wire(body), "", 0, utc_now())
        with self._lock:
            self._queues.setdefault(queue, []).append(_Lying(message, time.monotonic() + delay))

    def receive(self, queue: str, limit: int = 32, visibility: float = 60) -> list[Received]:
        now = time.monotonic()
        found: list[Received] = []
        with self._lock:
            for lying in self._queues.get(queue, []):
                if lying.visible_at <= now and len(found) < limit:
                    count = lying.message.dequeue_count + 1
                    receipt = f"r{next(self._ids)}"
                    lying.message = replace(lying.message, dequeue_count=count, pop_receipt=receipt)
                    lying.visible_at = now + visibility
                    found.append(lying.message)
        return found

    def delete(self, queue: str, message: Received) -> None:
        with self._lock:
            kept = [lying for lying in self._queues.get(queue, []) if lying.message != message]
            if queue in self._queues:
                self._queues[queue] = kept

    def ensure(self, queue: str) -> None:
        self._queues.setdefault(queue, [])

    def depth(self, queue: str) -> int:
        return len(self._queues.get(queue, []))

    def oldest(self, queue: str) -> datetime | None:
        now = time.monotonic()
        visible = [lying.message for lying in self._queues.get(queue, []) if lying.visible_at <= now]
        return visible[0].inserted_at if visible else None


@dataclass
class _Blob:
    data: bytes
    info: BlobInfo


class MemoryBlobStore:
    """BlobStore and Lock."""

    def __init__(self) -> None:
        self._blobs: dict[str, _Blob] = {}
        self._locks: dict[str, float] = {}
        self._etags = itertools.count(1)
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes | BinaryIO, content_type: str) -> BlobInfo:
        content = data if isinstance(data, bytes) else data.read()
        info = BlobInfo(name, len(content), str(next(self._etags)), content_type, utc_now())
        self._blobs[name] = _Blob(content, info)
        return info

    def _blob(self, name: str) -> _Blob:
        if name not in self._blobs:
            raise BlobNotFound
        return self._blobs[name]

    def info(self, name: str) -> BlobInfo:
        return self._blob(name).info

    def read(self, name: str) -> bytes:
        return self._blob(name).data

    def download(
        self,
        name: str,
        file: BinaryIO,
        progress: Callable[[int, int], None] | None = None,
        etag: str | None = None,
    ) -> BlobInfo:
        blob = self._blob(name)
        if etag not in {None, blob.info.etag}:
            raise DocumentChanged
        file.write(blob.data)
        if progress and blob.data:
            progress(len(blob.data), len(blob.data))
        return blob.info

    def grant_upload(self, name: str, content_type: str, seconds: float, *, blocks: bool) -> UploadGrant:  # noqa: ARG002 - nothing can be put there by URL
        until = utc_now() + timedelta(seconds=seconds)
        return UploadGrant(f"memory:///{quote(name)}", {"Content-Type": content_type}, until)

    def delete(self, name: str, etag: str | None = None) -> None:
        with self._lock:
            found = self._blobs.get(name)
            if found is not None and etag in {None, found.info.etag}:
                del self._blobs[name]

    def below(self, prefix: str) -> list[BlobInfo]:
        return [blob.info for name, blob in list(self._blobs.items()) if name.startswith(prefix)]

    def delete_all(self, prefix: str) -> int:
        names = [info.name for info in self.below(prefix)]
        for name in names:
            self.delete(name)
        return len(names)

    def ensure(self) -> None:
        return

    def acquire(self, name: str, seconds: float) -> Callable[[], None] | None:
        now = time.monotonic()
        with self._lock:
            if self._locks.get(name, 0.0) > now:
                return None
            self._locks[name] = now + seconds
        return lambda: self._locks.update({name: 0.0})


class MemoryKeyStore:
    """KeyStore."""

    def __init__(self) -> None:
        self._keys: dict[Name, ApiKey] = {}

    def add(self, key: ApiKey) -> None:
        self._keys[key.client_id, key.key_id] = key

    def get(self, client_id: str, key_id: str) -> ApiKey | None:
        return self._keys.get((client_id, key_id))

    def of_client(self, client_id: str) -> list[ApiKey]:
        return [key for key in self._keys.values() if key.client_id == client_id]

    def revoke(self, client_id: str, key_id: str, now: datetime) -> bool:
        key = self._keys.get((client_id, key_id))
        if key is None:
            return False
        self._keys[client_id, key_id] = key.model_copy(update={"revoked_at": now})
        return True


@dataclass
class MemoryDeadLetterStore:
    """DeadLetterStore."""

    _letters: dict[str, dict[str, DeadLetter]] = field(default_factory=lambda: defaultdict(dict))

    def record(self, letter: DeadLetter) -> None:
        self._letters[letter.client_id].setdefault(letter.dead_letter_id, letter)

    def retried(self, client_id: str, dead_letter_id: str, now: datetime) -> bool:
        letter = self._letters[client_id].get(dead_letter_id)
        if letter is None:
            return False
        if letter.retried_at is None:
            after = letter.model_copy(update={"retried_at": now})
            self._letters[client_id][dead_letter_id] = after
        return True

    def page(self, client_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        letters = list(self._letters[client_id].values())
        letters.sort(key=lambda letter: letter.dead_lettered_at, reverse=True)
        return _page(letters, limit, cursor)

    def remove(self, client_id: str, dead_letter_id: str, before: datetime) -> None:
        letter = self._letters[client_id].get(dead_letter_id)
        if letter is not None and letter.dead_lettered_at < before:
            del self._letters[client_id][dead_letter_id]

    def count_open(self, client_id: str) -> int:
        return sum(letter.retried_at is None for letter in self._letters[client_id].values())


def _page(items: list[T], limit: int, cursor: str | None) -> Page[T]:
    try:
        start = int(cursor or 0)
    except ValueError as error:
        raise InvalidPayload("The cursor is not one that a list gave.") from error
    more = len(items) > start + limit
    return Page(items[start : start + limit], str(start + limit) if more else None)

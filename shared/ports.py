"""What Docmill needs from the outside, as protocols. Adapters in `storage/` and `providers/` fulfil them.

Every adapter raises errors of `shared.errors` and nothing of its SDK: `StorageUnavailable`,
`IndexUnavailable`, `ModelUnavailable` and so on for what may pass, others for what will not.
Every call that leaves the process has a timeout; where `timeout` is a parameter it is in seconds, and the
adapter uses the smaller of it and its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, Protocol, TypeVar

from shared.audience import Audience
from shared.deliveries import Delivery, FailureKind, Status
from shared.documents import (
    ConvertedDocument,
    Document,
    EmbeddedChunk,
    Match,
    StoredChunk,
    StoredSummary,
)
from shared.rounds import Rounds
from shared.settings import Settings
from shared.subscriptions import Keyring, Receiver, Subscription
from shared.tasks import Expiry, Task, TaskStatus, Value
from shared.telemetry import Telemetry

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list; `next_cursor` is None on the last."""

    items: list[T]
    next_cursor: str | None = None


# --- tasks -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A task as it was read or written, with the ETag that guards the next write."""

    task: Task
    etag: str


class IdempotencyRecord(Value):
    """What a client's Idempotency-Key was used for. Hashes are hex SHA-256."""

    key_hash: str
    body_hash: str
    task_id: str
    created_at: datetime

    @property
    def expiry(self) -> Expiry:
        return Expiry(due=self.created_at + timedelta(days=30), kind="idempotency", id=self.key_hash)


class RowChanged(Exception):
    """Somebody else wrote the row first. Read it again and decide anew."""


class RowExists(Exception):
    """There is a row, or an idempotency record, of that name already."""


class TaskStore(Protocol):
    """The state of every task. Each write is atomic over all the rows that one task has."""

    def insert(self, task: Task, idempotency: IdempotencyRecord | None = None) -> Row:
        """Raises RowExists, also when only the idempotency record is there."""

    def get(self, client_id: str, task_id: str) -> Row | None: ...

    def save(self, row: Row, task: Task) -> Row:
        """Replaces the task that `row` holds by its next state. Raises RowChanged."""

    def touch(self, row: Row, task: Task) -> Row:
        """Writes heartbeat and progress only: no transition, no listing. Raises RowChanged."""

    def page(
        self,
        client_id: str,
        *,
        status: TaskStatus | None = None,
        task_type: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Task]:
        """Newest first, without their events. Raises InvalidPayload for a cursor that is not ours."""

    def due(self, client_id: str, now: datetime, limit: int = 200) -> list[str]:
        """Ids of the tasks that need attention and whose `check_at` has come."""

    def active(self, client_id: str, document_id: str) -> list[str]:
        """Ids of the tasks of one document that need attention."""

    def idempotency(self, client_id: str, key_hash: str) -> IdempotencyRecord | None: ...

    def forget_idempotency(self, client_id: str, record: IdempotencyRecord) -> None:
        """Removes this very record; nothing happens when it is gone or its key was used anew."""

    def remind(self, client_id: str, expiry: Expiry) -> None:
        """Writes an expiry of something that lies elsewhere. Those of tasks and records need no call."""

    def expiring(self, client_id: str, now: datetime, limit: int = 200) -> list[Expiry]:
        """What is due, the earliest first."""

    def forget(self, client_id: str, expiry: Expiry) -> None:
        """Removes an expiry that was dealt with; nothing happens when it is gone."""


# --- queues ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Received:
    """A message as it lies on the wire (`text`, base64 unless somebody got it wrong)."""

    id: str
    text: str
    pop_receipt: str
    dequeue_count: int
    inserted_at: datetime | None


class TaskQueue(Protocol):
    """Storage queues. Delivery is at least once, in no order."""

    def put(self, queue: str, body: bytes, *, delay: float = 0) -> None:
        """Encodes and enqueues; makes the queue when it is not there. `delay` in seconds."""

    def receive(self, queue: str, limit: int = 32, visibility: float = 60) -> list[Received]:
        """Empty also when there is no such queue."""

    def delete(self, queue: str, message: Received) -> None: ...

    def ensure(self, queue: str) -> None: ...

    def depth(self, queue: str) -> int:
        """About how many messages there are; 0 without a queue."""

    def oldest(self, queue: str) -> datetime | None:
        """When the message at the head was put there, if there is a visible one."""


# --- blobs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlobInfo:
    name: str
    size: int
    etag: str
    content_type: str | None
    modified_at: datetime


@dataclass(frozen=True)
class UploadGrant:
    """Leave to put one blob straight into storage: `PUT url` with `headers`, until `expires_at`."""

    url: str
    headers: dict[str, str]
    expires_at: datetime


class BlobStore(Protocol):
    """One container. Names are whole (`acme/uploads/a.pdf`); a missing blob raises BlobNotFound."""

    def put(self, name: str, data: bytes | BinaryIO, content_type: str) -> BlobInfo:
        """Writes or overwrites; a stream goes up in blocks."""

    def info(self, name: str) -> BlobInfo: ...

    def read(self, name: str) -> bytes: ...

    def download(
        self,
        name: str,
        file: BinaryIO,
        progress: Callable[[int, int], None] | None = None,
        etag: str | None = None,
    ) -> BlobInfo:
        """Writes the blob to `file` chunk by chunk; `progress(done, total)` in bytes, may raise to stop.

        Raises DocumentChanged when it is not, or no longer, of that `etag`.
        """

    def grant_upload(self, name: str, content_type: str, seconds: float, *, blocks: bool) -> UploadGrant:
        """Leave to create this one blob; one that is there cannot be overwritten.

        `blocks`: it may also come in blocks (Put Block, Put Block List). The emulator has that with the right
        to write alone, so there, and only there, the blob could be replaced until the grant ends.
        """

    def delete(self, name: str, etag: str | None = None) -> None:
        """Nothing happens when it is gone already, or when it is not of that `etag` any more."""

    def below(self, prefix: str) -> list[BlobInfo]:
        """Every blob below a prefix; `content_type` may be missing."""

    def delete_all(self, prefix: str) -> int:
        """Removes every blob below a prefix and says how many."""

    def ensure(self) -> None: ...


# --- documents -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remains:
    """A document that was deleted and may have left files. `deleted_at` is None once it was revived."""

    document: Document
    deleted_at: datetime | None
    cleanup_due: datetime | None


class DocumentStore(Protocol):
    """Documents, chunks, summaries and search. Everything is inside one client.

    A generation is one build of a document's chunks. Only the active one is ever searched or shown.
    A deleted document is a tombstone: `get` gives None, `begin` and `activate` refuse it.
    """

    def add(self, document: Document) -> tuple[Document, bool]:
        """Inserts a document, or finds the one of that id: (what is stored, whether it is new).

        A deleted document of that id comes back to life under a new generation.
        """

    def get(self, client_id: str, document_id: str) -> Document | None: ...

    def stored(self, client_id: str, document_id: str, etag: str) -> Document | None:
        """The file of a pending document is there: it is `stored`, with that ETag for good.

        The document as it is then; the first ETag counts. None for a deleted one.
        """

    def page(self, client_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[Document]:
        """Newest first."""

    def delete(self, client_id: str, document_id: str) -> Document | None:
        """Writes the tombstone, removes chunks and summaries; gives the document as it was.

        The tombstone remembers that its files have to go: `to_clean` tells it from a minute later on.
        A deleted one is given again, so that who was interrupted can finish. None when there never was one.
        """

    def to_clean(self, client_ids: Sequence[str], now: datetime, limit: int = 100) -> list[Remains]:
        """Of these clients' deleted (or revived) documents those with something left to remove."""

    def remains(self, client_id: str, document_id: str) -> Remains | None:
        """The document as it is at this moment, deleted or not."""

    def cleaned(self, remains: Remains, again_at: datetime | None) -> None:
        """Nothing is left, or it is to be looked at again. Nothing happens when it was deleted anew."""

    def begin(self, client_id: str, document_id: str) -> int:
        """A new generation number, larger than every one before. Raises BlobNotFound for a deleted one."""

    def known(self, client_id: str, model: str, hashes: Sequence[str]) -> dict[str, tuple[float, ...]]:
        """Embeddings that this client has for these content hashes, of whatever document or generation."""

    def write(
        self, client_id: str, document_id: str, generation: int, model: str, chunks: Sequence[EmbeddedChunk]
    ) -> bool:
        """Upserts chunks of one generation; they stay invisible until it is activated.

        False, and nothing written, when a newer one was begun or the document was deleted.
        """

    def activate(
        self,
        client_id: str,
        document_id: str,
        generation: int,
        *,
        model: str,
        chunks: int,
        pages: int | None,
        title: str | None,
        markdown_blob: str,
        size: int,
        sha256: str,
        content_type: str,
    ) -> bool:
        """Makes a generation the visible one and removes all older ones, in one transaction.

        False, and nothing changed, when a newer generation was begun, when the document was deleted, or
        when fewer chunks than `chunks` are there. True again when it is active already.
        """

    def chunks(
        self, client_id: str, document_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[StoredChunk]:
        """In document order, active generation."""

    def search(
        self,
        client_id: str,
        *,
        mode: Literal["hybrid", "vector", "text"],
        query: str,
        model: str,
        embedding: Sequence[float] | None,
        top_k: int,
        document_id: str | None = None,
    ) -> list[Match]:
        """Best first; scores compare within one answer only. `embedding` is needed but for `text`."""

    def save_summary(self, client_id: str, task_id: str, summary: StoredSummary) -> bool:
        """Upserts by task, so that a repeated task leaves one row. False for a deleted document."""

    def summary(self, client_id: str, document_id: str) -> StoredSummary | None:
        """The newest."""

    def ping(self, timeout: float) -> None:
        """Raises IndexUnavailable when the store does not answer or lacks our schema."""


# --- conversion ------------------------------------------------------------------------------------------


class ConversionOptions(Value):
    ocr: Literal["auto", "never", "always"] = "auto"


class Converter(Protocol):
    @property
    def version(self) -> str:
        """Another one may make another text of the same file."""

    def detect(self, path: Path, filename: str) -> str:
        """The format by content (`pdf`, `docx`, ...), whatever the name says.

        Raises UnsupportedFormat, DocumentEmpty for no bytes, DocumentEncrypted, DocumentCorrupt.
        """

    def convert(
        self,
        path: Path,
        fmt: str,
        options: ConversionOptions,
        *,
        timeout: float,
        progress: Callable[[int, int], None],
    ) -> ConvertedDocument:
        """Text of a file in blocks. `progress(done, total)` in pages; what it raises stops the conversion.

        Raises the document errors, ConversionCrashed, ConverterUnavailable, TaskTimeout.
        """

    def ping(self, timeout: float) -> None:
        """Raises ConverterUnavailable when something that it needs is missing or does not answer."""


# --- models ----------------------------------------------------------------------------------------------


EmbeddingKind = Literal["document", "query"]
"""Some models embed a question and what may answer it in two ways, so that the two come near."""


@dataclass(frozen=True)
class Embeddings:
    """`vectors`: as many as texts, each L2-normalised and of the model's dimensions."""

    vectors: list[tuple[float, ...]]
    tokens: int


class SummaryOptions(Value):
    length: Literal["short", "medium", "long"] = "medium"
    format: Literal["paragraph", "bullets"] = "paragraph"
    focus: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Summary:
    text: str
    prompt_tokens: int
    completion_tokens: int


class LanguageModel(Protocol):
    """Embeddings and summaries. Raises ModelRateLimited, ModelUnavailable, ModelRejected, TaskTimeout."""

    @property
    def embedding_model(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def embedding_batch(self) -> int:
        """How many texts go well into one call of `embed`."""

    @property
    def concurrency(self) -> int:
        """How many calls one task may have under way at once; 1 when more would not be faster."""

    @property
    def summary_model(self) -> str: ...

    @property
    def section_tokens(self) -> int:
        """How many tokens of text one call of `summarize` takes."""

    def embed(
        self, texts: Sequence[str], *, timeout: float, kind: EmbeddingKind = "document"
    ) -> Embeddings: ...

    def summarize(self, text: str, options: SummaryOptions, *, timeout: float) -> Summary:
        """A summary of text that is data: instructions inside it are not followed."""

    def count_tokens(self, text: str) -> int: ...

    def warnings(self, options: SummaryOptions) -> list[str]:
        """What of these options this model cannot do, for the result's `warnings`."""

    def ping(self, timeout: float) -> None:
        """Raises when the provider cannot be reached or refuses us. Makes no paid call."""


# --- webhooks, keys, dead letters ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What became of one HTTP request: a status code, or a failure kind when there was none.

    `excerpt` is the beginning of the answer's body as text, at most 1,024 bytes in UTF-8, with no control
    characters but line feeds and tabs; None without a status code. `seconds` is how long the attempt took.
    """

    status_code: int | None
    failure: FailureKind | None = None
    retry_after: float | None = None
    excerpt: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


class Sender(Protocol):
    """Posts to URLs that clients supplied. Never follows redirects, never raises for a bad receiver."""

    def check(self, url: str) -> None:
        """Raises InvalidPayload for a URL that could never be sent to."""

    def post(self, url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> Sent: ...


class ApiKey(Value):
    """One API key of a client. Only the hash of its secret is kept."""

    key_id: str
    client_id: str
    secret_hash: str
    created_at: datetime
    revoked_at: datetime | None = None


class KeyStore(Protocol):
    def add(self, key: ApiKey) -> None: ...
    def get(self, client_id: str, key_id: str) -> ApiKey | None: ...
    def of_client(self, client_id: str) -> list[ApiKey]: ...
    def revoke(self, client_id: str, key_id: str, now: datetime) -> bool:
        """False when there is no such key."""


@dataclass(frozen=True)
class Stored(Generic[T]):
    """A value as it was read or written, with the ETag that guards the next write."""

    value: T
    etag: str


class SecretStore(Protocol):
    """The keyrings of clients, which sign for the `webhook_url` of their tasks."""

    def get(self, client_id: str) -> Stored[Keyring] | None: ...
    def add(self, client_id: str, keyring: Keyring) -> Stored[Keyring]:
        """What is stored afterwards: the one that was there already, if there was one."""

    def save(self, client_id: str, stored: Stored[Keyring], keyring: Keyring) -> Stored[Keyring]:
        """Raises RowChanged."""


class SubscriptionStore(Protocol):
    """The webhooks of clients."""

    def add(self, subscription: Subscription) -> Stored[Subscription]: ...
    def get(self, client_id: str, webhook_id: str) -> Stored[Subscription] | None: ...
    def of_client(self, client_id: str) -> list[Subscription]:
        """All of them, in the order in which they were made."""

    def save(self, stored: Stored[Subscription], subscription: Subscription) -> Stored[Subscription]:
        """Raises RowChanged, also when it was removed."""

    def remove(self, client_id: str, webhook_id: str) -> bool:
        """The webhook and the row of its receiver. False when there is none."""


class ReceiverStore(Protocol):
    """How the receivers of a client fare."""

    def get(self, client_id: str, key: str) -> Stored[Receiver] | None: ...
    def of_client(self, client_id: str) -> list[Receiver]:
        """Those of webhooks (`wh-...`)."""

    def save(self, client_id: str, stored: Stored[Receiver] | None, receiver: Receiver) -> Stored[Receiver]:
        """None: a receiver of whom nothing was known. Raises RowChanged when somebody else wrote first."""


class DeliveryStore(Protocol):
    """The delivery log. Each write is atomic over all the rows that one delivery has."""

    def add(self, delivery: Delivery) -> Stored[Delivery]:
        """What is stored afterwards: the one of that id which was there already, if there was one."""

    def get(self, client_id: str, delivery_id: str) -> Stored[Delivery] | None: ...

    def save(self, stored: Stored[Delivery], delivery: Delivery) -> Stored[Delivery]:
        """Raises RowChanged, also when it is gone."""

    def of_webhook(
        self,
        client_id: str,
        webhook_id: str,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """Newest first; `body` may be empty. Raises InvalidPayload for a cursor that is not ours."""

    def of_task(
        self,
        client_id: str,
        task_id: str,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """The same for one task, whoever is told."""

    def failed_since(self, client_id: str, webhook_id: str, since: datetime, limit: int) -> list[str]:
        """Ids of those that failed for good among those made at `since` or later, the oldest first."""

    def overdue(self, client_id: str, before: datetime, limit: int = 200) -> list[str]:
        """Ids of the pending ones whose next attempt was due before that moment, the earliest first."""

    def expire(self, client_id: str, before: datetime, limit: int = 200) -> int:
        """Removes those made before that moment, the oldest first, and says how many."""


class DeadLetter(Value):
    """`message`: the queue message as text, at most 4 KiB."""

    dead_letter_id: str
    client_id: str
    task_id: str | None
    task_type: str | None
    reason: Literal["invalid_message", "out_of_attempts", "worker_lost"]
    error: dict[str, Any] | None
    attempts: int
    message: str
    first_seen_at: datetime
    dead_lettered_at: datetime
    retried_at: datetime | None = None

    def public(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"client_id"})


class DeadLetterStore(Protocol):
    def record(self, letter: DeadLetter) -> None:
        """Idempotent by id."""

    def retried(self, client_id: str, dead_letter_id: str, now: datetime) -> bool:
        """Notes that its task runs again; the first time counts. False when there is no such letter."""

    def page(self, client_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[DeadLetter]:
        """Newest first."""

    def remove(self, client_id: str, dead_letter_id: str, before: datetime) -> None:
        """Removes a letter if it is from before that moment."""

    def count_open(self, client_id: str) -> int:
        """Those not retried; counting stops at 1,000."""


class Backlog(Protocol):
    """About how many tasks of a client wait, without a look at each of them."""

    def full(self, client_id: str) -> bool:
        """Whether no more are taken. A queue out of reach refuses nobody."""

    def accepted(self, client_id: str) -> None:
        """One more waits."""


class Lock(Protocol):
    """Mutual exclusion among all the processes of one storage account."""

    def acquire(self, name: str, seconds: float) -> Callable[[], None] | None:
        """A function that releases it, or None when somebody else holds it. It ends by itself after
        `seconds` (15 to 60)."""


# --- all of them -----------------------------------------------------------------------------------------


class Services(Protocol):
    """What use cases are given. `core.Core` is the real one; each part is made on first touch."""

    @property
    def settings(self) -> Settings: ...
    @property
    def tasks(self) -> TaskStore: ...
    @property
    def queues(self) -> TaskQueue: ...
    @property
    def blobs(self) -> BlobStore: ...
    @property
    def documents(self) -> DocumentStore: ...
    @property
    def converter(self) -> Converter: ...
    @property
    def models(self) -> LanguageModel: ...
    @property
    def sender(self) -> Sender: ...
    @property
    def keys(self) -> KeyStore: ...
    @property
    def secrets(self) -> SecretStore: ...
    @property
    def subscriptions(self) -> SubscriptionStore: ...
    @property
    def receivers(self) -> ReceiverStore: ...
    @property
    def deliveries(self) -> DeliveryStore: ...
    @property
    def dead_letters(self) -> DeadLetterStore: ...
    @property
    def backlog(self) -> Backlog: ...
    @property
    def audience(self) -> Audience: ...
    @property
    def rounds(self) -> Rounds: ...
    @property
    def lock(self) -> Lock: ...
    @property
    def telemetry(self) -> Telemetry: ...

    def prepare_once(self) -> None:
        """Makes the queues, tables and container that are missing, the first time that it is called."""

"""All services in memory, and a handler that does what its payload says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import handlers
from shared.audience import Audience
from shared.backlog import QueueBacklog
from shared.ports import Sent
from shared.rounds import Rounds
from shared.settings import Settings, read_settings
from shared.storage.memory import (
    MemoryBlobStore,
    MemoryDeadLetterStore,
    MemoryKeyStore,
    MemoryTaskQueue,
    MemoryTaskStore,
)
from shared.storage.memory_documents import MemoryDocuments
from shared.storage.memory_webhooks import (
    MemoryDeliveryStore,
    MemoryReceiverStore,
    MemorySecretStore,
    MemorySubscriptionStore,
)
from shared.telemetry import Silent, Telemetry

SECRETS_KEY = "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk="


class RecordingSender:
    """Keeps what it is given and answers from a list, 200 when that is empty."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []
        self.answers: list[Sent] = []

    def check(self, url: str) -> None:
        return

    def post(self, url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> Sent:
        self.sent.append((url, body, headers))
        return self.answers.pop(0) if self.answers else Sent(200)


@dataclass
class MemoryServices:
    settings: Settings
    tasks: MemoryTaskStore = field(default_factory=MemoryTaskStore)
    queues: MemoryTaskQueue = field(default_factory=MemoryTaskQueue)
    blobs: MemoryBlobStore = field(default_factory=MemoryBlobStore)
    documents: MemoryDocuments = field(default_factory=MemoryDocuments)
    keys: MemoryKeyStore = field(default_factory=MemoryKeyStore)
    secrets: MemorySecretStore = field(default_factory=MemorySecretStore)
    receivers: MemoryReceiverStore = field(default_factory=MemoryReceiverStore)
    deliveries: MemoryDeliveryStore = field(default_factory=MemoryDeliveryStore)
    dead_letters: MemoryDeadLetterStore = field(default_factory=MemoryDeadLetterStore)
    sender: RecordingSender = field(default_factory=RecordingSender)
    telemetry: Telemetry = field(default_factory=Silent)

    def __post_init__(self) -> None:
        self.subscriptions = MemorySubscriptionStore(self.receivers)
        self.audience = Audience()
        self.rounds = Rounds(thorough=True)
        self.backlog = QueueBacklog(self.queues, self.settings.max_queued_tasks_per_client)

    @property
    def lock(self) -> MemoryBlobStore:
        return self.blobs

    @property
    def converter(self) -> Any:
        raise AssertionError("this test converts nothing")

    @property
    def models(self) -> Any:
        raise AssertionError("this test needs no model")

    def prepare_once(self) -> None:
        return


def memory_services(environ: Mapping[str, str] | None = None) -> MemoryServices:
    defaults = {"CLIENT_IDS": "acme,beta", "SECRETS_KEY": SECRETS_KEY, "TASK_LEASE_SECONDS": "2"}
    return MemoryServices(read_settings({**defaults, **(environ or {})}))


@contextmanager
def registered(task_type: str, module: str) -> Iterator[None]:
    """A task type that only a test has."""
    handlers.HANDLERS[task_type] = module
    try:
        yield
    finally:
        del handlers.HANDLERS[task_type]

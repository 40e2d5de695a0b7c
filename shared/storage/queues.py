"""Storage queues. Messages are base64 on the wire, as the Functions host expects by default.

Received messages are not decoded here: with the SDK's decoding one bad message fails its whole batch.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.errors import StorageUnavailable
from shared.messages import to_wire
from shared.ports import Received
from shared.storage.accounts import storage_errors

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueServiceClient


class AzureTaskQueue:
    """TaskQueue on Queue Storage; one client for each queue, shared by all threads."""

    def __init__(self, service: QueueServiceClient) -> None:
        self._service = service
        self._clients: dict[str, QueueClient] = {}
        self._lock = threading.Lock()

    def _queue(self, name: str) -> QueueClient:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._service.get_queue_client(name)
            return self._clients[name]

    def put(self, queue: str, body: bytes, *, delay: float = 0) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        # No expiry: a message that waits longer than the default week must not vanish.
        options: dict[str, Any] = {"visibility_timeout": int(delay + 0.999) or None, "time_to_live": -1}
        with storage_errors("queue"):
            try:
                self._queue(queue).send_message(to_wire(body), **options)
            except ResourceNotFoundError:
                self._put_into_new(queue, body, options)

    def _put_into_new(self, queue: str, body: bytes, options: dict[str, Any]) -> None:
        from azure.core.exceptions import HttpResponseError

        try:
            self.ensure(queue)
            self._queue(queue).send_message(to_wire(body), **options)
        except HttpResponseError as error:  # for half a minute after a queue was deleted
            raise StorageUnavailable from error

    def receive(self, queue: str, limit: int = 32, visibility: float = 60) -> list[Received]:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with storage_errors("queue"):
                pages = self._queue(queue).receive_messages(
                    messages_per_page=min(limit, 32), max_messages=limit, visibility_timeout=int(visibility)
                )
                return [
                    Received(
                        id=message.id,
                        text=message.content,
                        pop_receipt=message.pop_receipt or "",
                        dequeue_count=message.dequeue_count or 0,
                        inserted_at=message.inserted_on,
                    )
                    for message in pages
                ]
        except ResourceNotFoundError:
            return []

    def delete(self, queue: str, message: Received) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with storage_errors("queue"):
                self._queue(queue).delete_message(message.id, message.pop_receipt)
        except ResourceNotFoundError:
            return  # deleted before, or somebody else has it now and will

    def ensure(self, queue: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            with storage_errors("queue"):
                self._queue(queue).create_queue()
        except ResourceExistsError:
            return

    def depth(self, queue: str) -> int:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with storage_errors("queue"):
                return int(self._queue(queue).get_queue_properties().approximate_message_count or 0)
        except ResourceNotFoundError:
            return 0

    def oldest(self, queue: str) -> datetime | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            with storage_errors("queue"):
                peeked = self._queue(queue).peek_messages(max_messages=1)
        except ResourceNotFoundError:
            return None
        return peeked[0].inserted_on if peeked else None

    def close(self) -> None:
        self._service.close()

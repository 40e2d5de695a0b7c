"""One received queue message: its lease, its newest pop receipt, and how it is settled."""

from __future__ import annotations

import base64
import binascii
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient, QueueMessage

log = logging.getLogger(__name__)

LONGEST_QUEUE_NAME = 56
"""A name of at most 63 characters has to be left for `<queue>-poison`."""
_GONE = {"PopReceiptMismatch", "MessageNotFound", "QueueNotFound", "QueueBeingDeleted"}


class Delivery:
    """Renewal and settling come from different threads and exclude each other: every renewal makes a new pop
    receipt, and only the newest is good for the next call."""

    def __init__(
        self, queue: QueueClient, poison: QueueClient | None, message: QueueMessage, lease: float
    ) -> None:
        self.id: str = message.id
        self.dequeue_count = message.dequeue_count or 1
        self.text: str = message.content
        self._queue, self._poison, self._message = queue, poison, message
        self._receipt = message.pop_receipt
        self._lease = lease
        self._renew_at = time.monotonic() + lease / 2
        self._settled = False
        self._lock = threading.Lock()

    @property
    def settled(self) -> bool:
        return self._settled

    def renew(self) -> None:
        """Extends the lease when half of it is over. Errors are logged; the next round tries again."""
        with self._lock:
            now = time.monotonic()
            if self._settled or now < self._renew_at:
                return
            self._renew_at = now + self._lease / 10
            with self._outcome("renew"):
                self._receipt = self._hidden_for(self._lease)
                self._renew_at = now + self._lease / 2

    def delete(self) -> None:
        with self._settling("delete"):
            self._queue.delete_message(self.id, self._receipt)

    def release(self, seconds: float) -> None:
        """Gives it back: visible again after this time, its delivery counted."""
        with self._settling("release"):
            self._hidden_for(seconds)

    def leave(self) -> None:
        """Renews its lease no more: it comes again when that ends."""
        with self._lock:
            self._settled = True

    def give_back(self) -> None:
        """Releases it at once, without retries: the worker is about to end."""
        with self._settling("release"):
            self._hidden_for(0, retry_total=0)

    def poison(self, why: str) -> None:
        """Copies the body to the poison queue and deletes the message."""
        if self._poison is None:
            log.error(
                "Message %s of %s is beyond help (%s) and has no poison queue", self.id, self._name, why
            )
            self._settled = True
            return
        log.error("Message %s of %s goes to %s: %s", self.id, self._name, self._poison.queue_name, why)
        with self._settling("poison"):
            _put(self._poison, self.text)
            self._queue.delete_message(self.id, self._receipt)

    def body(self, encoding: str) -> str:
        """Raises ValueError when it is not base64 and should be."""
        return self.text if encoding == "none" else _from_base64(self.text)

    def metadata(self) -> dict[str, str | None]:
        """What the Functions host tells a function about its message, by the host's names."""
        return {
            "Id": self.id,
            "DequeueCount": str(self.dequeue_count),
            "InsertionTime": _iso(self._message.inserted_on),
            "ExpirationTime": _iso(self._message.expires_on),
            "NextVisibleTime": _iso(self._message.next_visible_on),
            "PopReceipt": self._receipt,
        }

    @property
    def _name(self) -> str:
        return str(self._queue.queue_name)

    def _hidden_for(self, seconds: float, **options: Any) -> str:
        seconds = math.ceil(seconds)
        updated = self._queue.update_message(self.id, self._receipt, visibility_timeout=seconds, **options)
        return str(updated.pop_receipt)

    @contextmanager
    def _settling(self, doing: str) -> Iterator[None]:
        with self._lock:
            if not self._settled:
                self._settled = True
                with self._outcome(doing):
                    yield

    @contextmanager
    def _outcome(self, doing: str) -> Iterator[None]:
        """Keeps errors here: whatever could not be settled comes again when its lease ends."""
        try:
            yield
        except Exception as error:
            if getattr(error, "error_code", None) in _GONE:
                # Somebody else has it, or it is done with: nothing is left to renew or settle.
                self._settled = True
                log.info("Message %s of %s is no longer ours", self.id, self._name)
            else:
                log.warning(
                    "Could not %s message %s of %s: %s", doing, self.id, self._name, type(error).__name__
                )


class Leases:
    """Renews the lease of every delivery that is not settled, from its receipt on, in a thread of its own."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._kept: list[Delivery] = []
        self._lock = threading.Lock()

    def keep(self, delivery: Delivery) -> None:
        with self._lock:
            self._kept.append(delivery)

    def run(self) -> None:
        while True:
            time.sleep(min(1.0, self.seconds / 10))
            with self._lock:
                self._kept = [delivery for delivery in self._kept if not delivery.settled]
                kept = list(self._kept)
            for delivery in kept:
                delivery.renew()


def poison_queue_name(queue: str) -> str | None:
    """None where the host has no poison queue either."""
    if queue.endswith("-poison") or len(queue) > LONGEST_QUEUE_NAME:
        return None
    return f"{queue}-poison"


def _put(queue: QueueClient, text: str) -> None:
    """Sends the text as it is, making the queue when it is needed for the first time. Its time to live is the
    service's default, 7 days, as the host leaves it."""
    from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

    try:
        queue.send_message(text)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            queue.create_queue()
        queue.send_message(text)


def _from_base64(text: str) -> str:
    try:
        # The host hands the body over as text; what is not UTF-8 arrives there with replacement characters.
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", errors="replace")
    except binascii.Error as error:
        raise ValueError("the body is not base64") from error


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

"""One queue trigger: polls its queue and runs its function, with the semantics of the Functions host.

Source: QueueListener, QueueProcessor and RandomizedExponentialBackoffStrategy of the storage extension.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.delivery import Delivery, Leases, poison_queue_name
from worker.errors import CallFailed, CutOff, NotBegun
from worker.host_json import QueueOptions
from worker.pool import Pool
from worker.process import Function
from worker.supervisor import Supervisor

if TYPE_CHECKING:
    from azure.storage.queue import QueueMessage, QueueServiceClient

log = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.1
SIGNAL_SECONDS = 0.5
_COMPLAIN_EVERY = 60.0


class Backoff:
    """Pauses between polls that found nothing: 0.1, 0.2, 0.3, 0.5, 0.9 s ... more or less, up to a cap."""

    def __init__(self, cap: float) -> None:
        self._cap = cap
        self._misses = 0

    def found(self) -> None:
        self._misses = 0

    def pause(self) -> float:
        """Seconds until the next poll."""
        grown = 0.0
        if self._misses:
            grown = SHORTEST_PAUSE * 2.0 ** min(self._misses - 1, 30) * random.uniform(0.8, 1.2)  # noqa: S311
        self._misses += 1
        return min(self._cap, SHORTEST_PAUSE + grown)


@dataclass(frozen=True)
class Surroundings:
    """What all listeners share."""

    options: QueueOptions
    poll_cap: float
    functions: Supervisor
    pool: Pool
    leases: Leases
    stopping: threading.Event


class Listener:
    def __init__(
        self, function: Function, queue: str, service: QueueServiceClient, shared: Surroundings
    ) -> None:
        self.queue = queue
        self._function = function
        self._shared = shared
        self._client = service.get_queue_client(queue)
        poison = poison_queue_name(queue)
        self._poison = service.get_queue_client(poison) if poison else None
        self._backoff = Backoff(shared.poll_cap)
        self._complained_at = -_COMPLAIN_EVERY
        self._in_flight: set[Future[None]] = set()

    def run(self) -> None:
        """Polls until the worker stops. Nothing that storage answers ends it."""
        while not self._shared.stopping.is_set():
            if not self._shared.functions.wait(SIGNAL_SECONDS):
                continue  # a message is better off on the queue while nobody can run it
            if self._poll():
                self._backoff.found()
                self._await_room()
            else:
                self._shared.stopping.wait(self._backoff.pause())

    def _poll(self) -> bool:
        """Fetches and starts one batch. Returns whether there was any message."""
        messages = self._received()
        for message in messages:
            self._start(Delivery(self._client, self._poison, message, self._shared.leases.seconds))
        return bool(messages)

    def _received(self) -> list[QueueMessage]:
        from azure.core.exceptions import ResourceNotFoundError

        # No decoding by the SDK: one message that is not base64 would fail its whole batch. No retries by the
        # SDK either: the back-off is ours, and a stop should not wait for them.
        pages = self._client.receive_messages(
            messages_per_page=self._shared.options.batch_size,
            visibility_timeout=int(self._shared.leases.seconds),
            retry_total=0,
        ).by_page()
        try:
            return list(next(pages, ()))
        except ResourceNotFoundError:
            # Like the host we never create a trigger's queue, we wait for it. Asking for messages
            # tells whether it exists, so there is no second request for that.
            return []
        except Exception as error:  # whatever it is, the next poll may do better
            self._complain(error)
            return []

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY:
            self._complained_at = now
            reason = getattr(error, "error_code", None) or type(error).__name__
            log.warning("Queue %s cannot be read (%s), trying on", self.queue, reason)

    def _start(self, delivery: Delivery) -> None:
        self._shared.leases.keep(delivery)
        try:
            future = self._shared.pool.submit(lambda: self._process(delivery))
        except RuntimeError:  # the pool is closed: a stop came between the poll and here
            delivery.give_back()
            return
        future.add_done_callback(lambda ended: delivery.give_back() if ended.cancelled() else None)
        self._in_flight.add(future)

    def _await_room(self) -> None:
        """Returns when so few are in flight that the next batch may be fetched, or when the worker stops."""
        while True:
            self._in_flight = {future for future in self._in_flight if not future.done()}
            if len(self._in_flight) <= self._shared.options.threshold or self._shared.stopping.is_set():
                return
            wait(self._in_flight, timeout=0.5, return_when=FIRST_COMPLETED)

    def _process(self, delivery: Delivery) -> None:
        most = self._shared.options.max_dequeue_count
        if delivery.dequeue_count > most:
            delivery.poison(f"delivered more than {most} times")
            return
        try:
            body = delivery.body(self._shared.options.message_encoding)
        except ValueError as error:
            delivery.poison(str(error))
            return
        try:
            self._call(delivery, body)
        except NotBegun:
            delivery.give_back()
        except CutOff:
            delivery.leave()
        except CallFailed as failure:
            log.error("%s failed on message %s: %s", self._function.name, delivery.id, failure)
            self._failed(delivery)
        else:
            delivery.delete()

    def _failed(self, delivery: Delivery) -> None:
        most = self._shared.options.max_dequeue_count
        if delivery.dequeue_count >= most:
            delivery.poison(f"failed {most} times")
        else:
            delivery.release(self._shared.options.visibility_timeout.total_seconds())

    def _call(self, delivery: Delivery, body: str) -> None:
        line = {"function": self._function.name, "kind": "queueTrigger", "body": body}
        self._shared.functions.call({**line, "metadata": delivery.metadata()})

"""How much lies on the queues, and the depth lines that say so in the log, once a sweep."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from shared.names import DELIVERIES_QUEUE, tasks_queue
from shared.ports import DeadLetterStore, TaskQueue
from shared.tasks import utc_now

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Depth:
    """`depth`: messages that wait or are being run. `oldest_seconds`: since the one that waits for longest
    was put there, 0 when none waits. `dead_letters`: those not retried, 1000 at most."""

    queue: str
    depth: int
    oldest_seconds: int
    dead_letters: int

    @property
    def empty(self) -> bool:
        return not (self.depth or self.dead_letters)


def depth_of_tasks(queues: TaskQueue, dead_letters: DeadLetterStore, client_id: str) -> Depth:
    """Two requests where nothing lies, three else. Raises StorageUnavailable."""
    return _depth(queues, tasks_queue(client_id), dead_letters.count_open(client_id))


def depth_of_deliveries(queues: TaskQueue) -> Depth:
    """Most of its messages wait for the time of their next attempt. Raises StorageUnavailable."""
    return _depth(queues, DELIVERIES_QUEUE, 0)


def _depth(queues: TaskQueue, queue: str, dead_letters: int) -> Depth:
    depth = queues.depth(queue)
    oldest = queues.oldest(queue) if depth else None
    age = max(0, int((utc_now() - oldest).total_seconds())) if oldest else 0
    return Depth(queue, depth, age, dead_letters)


class DepthLines:
    """One line for a queue where something lies, each time; one more when nothing does any more. So idle
    clients cost no lines, and the newest line of a queue is true. The first time every queue has its line."""

    def __init__(self) -> None:
        self._empty: set[str] = set()
        self._lock = threading.Lock()

    def tell(self, found: Depth) -> None:
        with self._lock:
            silent = found.empty and found.queue in self._empty
            (self._empty.add if found.empty else self._empty.discard)(found.queue)
        if not silent:
            # The numbers stand in the text as well: the Functions host drops what is in `extra`.
            log.info(
                "Queue %s: depth %d, oldest %d s, dead letters %d.",
                found.queue,
                found.depth,
                found.oldest_seconds,
                found.dead_letters,
                extra=vars(found),
            )

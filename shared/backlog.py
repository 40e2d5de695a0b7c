"""How many tasks of a client wait, as far as its queue tells: the measure of back-pressure."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import StorageUnavailable
from shared.names import tasks_queue
from shared.ports import TaskQueue

log = logging.getLogger(__name__)
KEPT_SECONDS = 2.0


@dataclass
class _Known:
    depth: int
    until: float


class QueueBacklog:
    """Backlog: the queue's own count, asked for every two seconds at most, and what was accepted since."""

    def __init__(self, queues: TaskQueue, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = queues
        self._limit = limit
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def full(self, client_id: str) -> bool:
        """Tasks that are being run count as well: their messages are on the queue until they end."""
        known, stale = self._looked_up(client_id)
        if stale:
            known.depth = self._depth(client_id)
        return known.depth >= self._limit

    def accepted(self, client_id: str) -> None:
        with self._lock:
            if client_id in self._known:
                self._known[client_id].depth += 1

    def _looked_up(self, client_id: str) -> tuple[_Known, bool]:
        """What is known, and whether the caller is to ask anew. The others take the old count meanwhile."""
        now = self._clock()
        with self._lock:
            known = self._known.setdefault(client_id, _Known(0, now))
            stale = known.until <= now
            if stale:
                known.until = now + KEPT_SECONDS
            return known, stale

    def _depth(self, client_id: str) -> int:
        try:
            return self._queues.depth(tasks_queue(client_id))
        except StorageUnavailable:
            log.warning("The depth of the queue is not known.", extra={"client_id": client_id})
            return 0

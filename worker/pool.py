"""The threads that functions run in: one pool for all, like the Python worker of the Functions host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class Pool:
    def __init__(self, threads: int | None) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._running: set[Future[None]] = set()
        self._lock = threading.Lock()

    def submit(self, call: Callable[[], None]) -> Future[None]:
        future = self._executor.submit(call)
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def drain(self, seconds: float) -> int:
        """Starts nothing new, gives what runs this long to end, and returns how many calls did not."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            running = set(self._running)
        return len(wait(running, timeout=seconds).not_done)

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._running.discard(future)

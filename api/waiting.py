"""Long-polling: any number of waiters on a task share one watcher, which reads its row once a second.

Waiting holds no thread: the route is `async` and only the watcher's reads go to the thread pool.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging

from fastapi.concurrency import run_in_threadpool

from shared.ports import TaskStore
from shared.tasks import Task

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0


def etag(task: Task) -> str:
    """A strong validator over the Task that is shown; the lease is not."""
    shown = json.dumps(task.public(), sort_keys=True)
    return f'"{hashlib.sha256(shown.encode()).hexdigest()[:32]}"'


def seen_by(if_none_match: str, current: str) -> str:
    """What a caller has seen: proxies weaken an ETag (`W/`), and the header may name several."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return current if current in tags or "*" in tags else tags[0]


class _Watch:
    """One watched task, in one event loop."""

    def __init__(self) -> None:
        self.waiters = 0
        self.task: Task | None = None
        self.changed = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None

    def publish(self, task: Task | None) -> None:
        self.task = task
        self.changed.set()
        self.changed = asyncio.Event()


class Watches:
    def __init__(self, tasks: TaskStore) -> None:
        self._tasks = tasks
        self._watches: dict[tuple[asyncio.AbstractEventLoop, str, str], _Watch] = {}

    async def next(self, client_id: str, task_id: str, seen: str, seconds: float) -> Task | None:
        """The task once its ETag is not `seen` any more; None when that does not happen in time."""
        name = (asyncio.get_running_loop(), client_id, task_id)
        watch = self._watches.setdefault(name, _Watch())
        watch.waiters += 1
        if watch.reader is None:
            watch.reader = asyncio.create_task(self._read(watch, client_id, task_id))
        try:
            async with asyncio.timeout(seconds):
                return await _changed(watch, seen)
        except TimeoutError:
            return None
        finally:
            watch.waiters -= 1
            if watch.waiters == 0:
                watch.reader.cancel()
                self._watches.pop(name, None)

    async def _read(self, watch: _Watch, client_id: str, task_id: str) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                row = await run_in_threadpool(self._tasks.get, client_id, task_id)
            except Exception as error:
                log.warning("A waiting look failed: %s", type(error).__name__)
                continue  # the waiters go on waiting; the next look may do better
            watch.publish(row.task if row else None)


async def _changed(watch: _Watch, seen: str) -> Task | None:
    while True:
        await watch.changed.wait()
        if watch.task is None or etag(watch.task) != seen:
            return watch.task

"""Many waiting at once: they share one watcher, hold no thread, and hinder nobody."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from api.app import create_app
from shared.keys import Authenticator, create_key
from shared.ports import Row
from shared.storage.memory import MemoryTaskStore
from shared.tasks import TaskStatus, new_task, utc_now
from tests.services import MemoryServices, memory_services

WAITERS = 200


class CountingTaskStore(MemoryTaskStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def get(self, client_id: str, task_id: str) -> Row | None:
        self.reads += 1
        return super().get(client_id, task_id)


class MemoryCore(MemoryServices):
    """What the API asks of a core beside the services."""

    authenticator: Authenticator


def memory_core() -> tuple[Any, str]:
    core: Any = MemoryCore(memory_services().settings, tasks=CountingTaskStore())
    core.authenticator = Authenticator(core.keys)
    return core, create_key(core.keys, "acme", utc_now())[0]


async def wait_together(core: Any, key: str) -> tuple[list[httpx.Response], list[float], float]:
    row = core.tasks.insert(new_task("acme", "ingestion", {}, utc_now()))
    url = f"/api/tasks/{row.task.task_id}"
    transport = httpx.ASGITransport(app=create_app(core))
    headers = {"X-API-Key": key}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        started = time.monotonic()
        waiting = [asyncio.create_task(http.get(f"{url}?wait=20")) for _ in range(WAITERS)]
        health = []
        for _ in range(20):
            before = time.monotonic()
            assert (await http.get("/api/health")).status_code == 200
            health.append(time.monotonic() - before)
            await asyncio.sleep(0.1)
        core.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now()))
        answers = await asyncio.gather(*waiting)
        return list(answers), health, time.monotonic() - started


def test_two_hundred_waiters_cost_one_read_a_second() -> None:
    core, key = memory_core()
    answers, health, seconds = asyncio.run(wait_together(core, key))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "running")}
    # One read for each request when it comes, and then at most one a second for all of them.
    assert core.tasks.reads - WAITERS <= seconds + 1
    # Not a measurement: while threads were what waiting costs, this took as long as the waiting itself.
    assert max(health) < 10


def test_nobody_is_watched_when_nobody_waits() -> None:
    core, key = memory_core()
    asyncio.run(wait_together(core, key))
    reads = core.tasks.reads
    time.sleep(1.5)
    assert core.tasks.reads == reads

"""Clients that wait: 200 of them at once with `?wait=`, for one task each, and then all for the same one.

What that costs (requests to storage, memory), how long after a change of the row the answer comes, and how
long `/api/health` takes meanwhile beside a service that nobody waits for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import psutil

from benchmarks.docmill import Docmill
from benchmarks.meter import Meter
from benchmarks.queue import storage
from benchmarks.report import Figure, Report, Table, below
from shared.submission import Submission, submit
from shared.tasks import TaskStatus, utc_now

CLIENT = "bench-one"
WAITERS = 200
WAIT_SECONDS = 25
SETTLE_SECONDS, LOOK_SECONDS = 3, 5
HEALTH_CALLS = 50


@dataclass(frozen=True)
class Found:
    """`reads`: of storage, a second. `megabytes`: more than before, of the process that serves. `delays`:
    seconds from the change of a row to the answer. `health`: seconds of each call."""

    reads: float
    megabytes: float
    delays: Sequence[float]
    health: Sequence[float]

    def row(self) -> list[float]:
        return [self.reads, self.megabytes, *_middle_and_most(self.delays), *_milliseconds(self.health)]


def run() -> Report:
    with _serving() as (meter, docmill):
        alone = _health(docmill)
        apart = asyncio.run(_waited(meter, docmill, WAITERS))
        together = asyncio.run(_waited(meter, docmill, 1))
    columns = ["requests/s", "MB more", "delay p50 s", "delay p95 s", "health p50 ms", "health p95 ms"]
    rows = {"nobody waits": [0.0, 0.0, None, None, *_milliseconds(alone)]}
    return Report(
        f"{WAITERS} waiting clients",
        [
            Figure("storage requests a second, each waits for another task", apart.reads),
            Figure("storage requests a second, all wait for one", together.reads),
            Figure("seconds from the change of a row to the answer, p95", _middle_and_most(apart.delays)[1]),
            Figure(
                "/api/health p95, seconds",
                _middle_and_most(apart.health)[1],
                below(1),
                "it has to answer probes",
            ),
        ],
        [
            Table(
                "waiting",
                columns,
                {**rows, "each for its own task": apart.row(), "all for one": together.row()},
            )
        ],
    )


@contextmanager
def _serving() -> Iterator[tuple[Meter, Docmill]]:
    """No queue is served: tasks stay as they are until we write their rows."""
    with (
        storage() as connection,
        Meter(connection).serving() as meter,
        Docmill.started(meter.connection_string, (CLIENT,), "--only", "http") as docmill,
    ):
        yield meter, docmill


async def _waited(meter: Meter, docmill: Docmill, tasks: int) -> Found:
    """All waiters, for so many tasks."""
    accepted = [
        submit(docmill.core, CLIENT, Submission("ingestion", {"document_id": "doc-1"})).task
        for _ in range(tasks)
    ]
    before = _resident(docmill)
    names = [accepted[number % tasks].task_id for number in range(WAITERS)]
    waiters = [asyncio.create_task(_answered(docmill, name)) for name in names]
    await asyncio.sleep(SETTLE_SECONDS)
    passed = await asyncio.to_thread(meter.during, lambda: time.sleep(LOOK_SECONDS))
    health = await asyncio.to_thread(_health, docmill)
    more = _resident(docmill) - before
    changed = await asyncio.to_thread(_changed, docmill, names)
    answered = await asyncio.gather(*waiters)
    delays = [at - changed[name] for name, at in zip(names, answered, strict=True)]
    reads = sum(one.kind == "read one row of tasks, T|" for one in passed)
    return Found(reads / LOOK_SECONDS, more / 2**20, delays, health)


async def _answered(docmill: Docmill, task_id: str) -> float:
    """When the answer has come, by the clock of `time.monotonic`. It tells of the change."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(docmill.service.environment["DOCMILL_PORT"])
    )
    path = f"/api/tasks/{task_id}?wait={WAIT_SECONDS}"
    headers = {"Host": "127.0.0.1", "Connection": "close", **docmill.headers(CLIENT)}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = await reader.read()
    at = time.monotonic()
    writer.close()
    task: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    if task["status"] != TaskStatus.CANCELLED:
        raise RuntimeError(f"A wait ended with the task {task['status']}.")
    return at


def _changed(docmill: Docmill, names: Sequence[str]) -> dict[str, float]:
    """Cancels each task, and gives when its row was written."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(names):
        row = docmill.core.tasks.get(CLIENT, name)
        assert row is not None
        docmill.core.tasks.save(row, row.task.to(TaskStatus.CANCELLED, utc_now()))
        found[name] = time.monotonic()
    return found


def _health(docmill: Docmill) -> list[float]:
    seconds = []
    with docmill.connection() as connection:
        for _ in range(HEALTH_CALLS):
            began = time.perf_counter()
            connection.told("GET", "/api/health", None, {})
            seconds.append(time.perf_counter() - began)
            time.sleep(0.02)
    return seconds


def _resident(docmill: Docmill) -> int:
    """Of the process that serves HTTP."""
    (worker,) = docmill.processes
    return sum(child.memory_info().rss for child in psutil.Process(worker).children())


def _middle_and_most(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 95th per cent."""
    return median(values), quantiles(values, n=20)[-1]


def _milliseconds(values: Sequence[float]) -> list[float]:
    return [1000 * value for value in _middle_and_most(values)]

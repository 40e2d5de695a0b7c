"""Celery as one would set it up on the same storage account: queues there, results in its blobs.

`celery -A benchmarks.celery_worker worker` with CELERY_STORAGE, the connection string of the account, and
CELERY_DONE, a file that grows by one byte with each task whose result is stored.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import celery
from celery.signals import task_postrun

from benchmarks.program import ended, program, shared

QUEUES = ("celery-one", "celery-two")
THREADS = 4
NAME = "noop"


def app_on(connection: str) -> Any:
    """By a connection string in which everything is written out."""
    parts = dict(part.split("=", 1) for part in connection.strip(";").split(";"))
    app = celery.Celery("benchmarks")
    app.conf.update(
        broker_url=f"azurestoragequeues://{parts['AccountKey']}@{parts['QueueEndpoint']}",
        result_backend=f"azureblockblob://{connection}",
        task_track_started=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    return app


def _noop(number: int) -> dict[str, int]:
    return {"number": number}


def _note(**_: Any) -> None:
    with Path(os.environ["CELERY_DONE"]).open("ab", buffering=0) as done:
        done.write(b".")


if "CELERY_STORAGE" in os.environ:  # in its worker
    app = app_on(os.environ["CELERY_STORAGE"])
    app.task(_noop, name=NAME)
    task_postrun.connect(_note)


class Celery:
    """Its worker, and what it takes to submit to it."""

    def __init__(self, app: Any, done: Path) -> None:
        self._app, self._done, self._sent = app, done, 0

    @classmethod
    @contextmanager
    def started(cls, connection: str) -> Iterator[Celery]:
        command = [sys.executable, "-m", "celery", "-A", __name__, "worker"]
        command += ["--pool", "threads", "--concurrency", str(THREADS), "-Q", ",".join(QUEUES)]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
        with tempfile.TemporaryDirectory(prefix="docmill-") as folder:
            done = Path(folder, "done")
            done.touch()
            settings = {"CELERY_STORAGE": connection, "CELERY_DONE": str(done)}
            with program(command, settings, Path(folder, "worker.log")):
                yield cls(app_on(connection), done)

    def run(self, count: int) -> None:
        shared(count, self._submit)
        self._sent += count
        ended(lambda: self._done.stat().st_size >= self._sent)

    def _submit(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._app.send_task(NAME, (number,), queue=QUEUES[number // 2 % 2])

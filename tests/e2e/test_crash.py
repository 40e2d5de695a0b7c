"""A worker that is killed in the middle: the task still ends, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.app import App
from local.stack import ROOT
from shared.core import Core
from shared.documents import Document, document_id_of_upload
from shared.settings import read_settings
from shared.submission import Submission, submit
from shared.tasks import Task, utc_now

CLIENT = "crash"


@pytest.fixture
def environment(app: App) -> dict[str, str]:
    """A client that only this test's workers serve, with a lease that runs out in seconds."""
    return {
        **app.environment,
        "CLIENT_IDS": CLIENT,
        "TASK_LEASE_SECONDS": "3",
        "MAINTENANCE_SCHEDULE": "*/2 * * * * *",
    }


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "worker", "--only", "queues", "--only", "timers"]
    process = subprocess.Popen(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)


def stored(core: Core) -> Document:
    """A text long enough that its embedding takes a few seconds."""
    text = "\n\n".join(
        f"Paragraph {n} of the mill's long ledger, with its own words {n * 7}." * 8 for n in range(150)
    )
    now = utc_now()
    document_id = document_id_of_upload(CLIENT, "ledger.txt", str(now))
    document = Document(
        document_id=document_id,
        client_id=CLIENT,
        filename="ledger.txt",
        content_type="text/plain",
        size=len(text),
        created_at=now,
        updated_at=now,
        blob=f"{CLIENT}/uploads/{document_id}/ledger.txt",
    )
    core.blobs.put(document.blob, text.encode(), "text/plain")
    return core.documents.add(document)[0]


def wait_for(core: Core, task: Task, seconds: float, stages: set[str]) -> Task:
    """The task once it is final, or in one of these stages."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        row = core.tasks.get(CLIENT, task.task_id)
        assert row is not None
        if row.task.final or (row.task.progress and row.task.progress.stage in stages):
            return row.task
        time.sleep(0.05)
    raise AssertionError(f"nothing happened in time: {row}")


def test_kill_9_in_the_middle_of_an_ingestion(environment: dict[str, str]) -> None:
    core = Core(read_settings(environment))
    core.prepare()
    document = stored(core)
    wish = Submission("ingestion", {"document_id": document.document_id, "options": {"chunk_tokens": 100}})
    task = submit(core, CLIENT, wish).task
    with worker(environment) as first:
        seen = wait_for(core, task, 60, {"embed"})
        assert not seen.final, "too fast to be killed in the middle"
        first.kill()
        first.wait()
    with worker(environment):
        done = wait_for(core, task, 90, set())
    assert (done.status, done.error) == ("succeeded", None)
    assert done.attempt == 2
    record = core.documents.get(CLIENT, document.document_id)
    assert record is not None and record.chunks
    chunks = core.documents.chunks(CLIENT, document.document_id, limit=500).items
    assert [chunk.chunk_index for chunk in chunks] == list(range(record.chunks))
    core.close()

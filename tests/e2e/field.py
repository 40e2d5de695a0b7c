"""Workers that are killed, stopped and let go on, for a client of their own, and a look behind the scenes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from local.postgres import Postgres
from local.receiver import Receiver
from local.stack import ROOT
from shared.core import Core
from shared.documents import Document, document_id_of_upload
from shared.names import tasks_queue
from shared.ports import Row
from shared.submission import Submission, submit
from shared.tasks import Task, utc_now


class Process(subprocess.Popen[bytes]):
    """A worker with all its processes, a session of its own. What asks it to end goes to its host alone."""

    def send_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            super().send_signal(number)
        elif self.poll() is None:
            os.killpg(self.pid, number)


CHUNK_TOKENS = 50


@dataclass
class Field:
    """`environment`: of the workers, who serve `client` alone."""

    client: str
    environment: dict[str, str]
    core: Core
    postgres: Postgres
    receiver: Receiver

    @contextmanager
    def worker(self, crash_at: str | None = None, number: str = "SIGKILL", **more: str) -> Iterator[Process]:
        """A worker for this client's queue and the deliveries, one that crashes when told where."""
        module = "tests.e2e.crashing_worker" if crash_at else "worker"
        crash = {"CRASH_AT": crash_at, "CRASH_SIGNAL": number} if crash_at else {}
        with started(module, "queues", {**self.environment, **crash, **more}) as process:
            yield process

    def document(self, sentences: int = 60) -> Document:
        """A text of its own, of some chunks of CHUNK_TOKENS each."""
        mark = secrets.token_hex(6)
        text = "\n\n".join(
            f"Entry {n} in ledger {mark}: the mill ground {n * 7} sacks of rye, of which {n} were spoilt."
            for n in range(sentences)
        )
        now = utc_now()
        document_id = document_id_of_upload(self.client, "ledger.txt", mark)
        document = Document(
            document_id=document_id,
            client_id=self.client,
            filename="ledger.txt",
            content_type="text/plain",
            size=len(text),
            created_at=now,
            updated_at=now,
            blob=f"{self.client}/uploads/{document_id}/ledger.txt",
        )
        self.core.blobs.put(document.blob, text.encode(), "text/plain")
        return self.core.documents.add(document)[0]

    def ingestion(self, document: Document, chunk_tokens: int = CHUNK_TOKENS) -> Task:
        payload = {"document_id": document.document_id, "options": {"chunk_tokens": chunk_tokens}}
        wish = Submission("ingestion", payload, webhook_url=self.receiver.url(self.client))
        return submit(self.core, self.client, wish).task

    def row(self, task: Task) -> Row:
        row = self.core.tasks.get(self.client, task.task_id)
        assert row is not None
        return row

    def ended(self, task: Task, seconds: float = 60) -> Task:
        done: Task = self.wait(lambda: self.row(task).task, lambda now: now.final, seconds)
        return done

    def wait(self, look: Callable[[], Any], good: Callable[[Any], object], seconds: float = 60) -> Any:
        until = time.monotonic() + seconds
        while not good(seen := look()):
            assert time.monotonic() < until, f"nothing happened in time: {seen}"
            time.sleep(0.05)
        return seen

    def generations(self, document: Document) -> dict[int, int]:
        """Generation -> how many chunks of it there are, visible or not."""
        lines = self.postgres.sql(
            "select generation, count(*) from chunks where "
            f"client_id = '{self.client}' and document_id = '{document.document_id}' group by 1"
        )
        return dict(map(int, line.split("|")) for line in lines.split())  # type: ignore[misc]

    def active(self, document: Document) -> int:
        found = self.postgres.sql(
            "select generation from documents where "
            f"client_id = '{self.client}' and document_id = '{document.document_id}'"
        )
        return int(found)

    def whole(self, document: Document) -> int:
        """How many chunks the document has: all of one generation, the active one, and no other's."""
        record = self.core.documents.get(self.client, document.document_id)
        assert record is not None and record.chunks
        assert self.generations(document) == {self.active(document): record.chunks}
        listed = self.core.documents.chunks(self.client, document.document_id, limit=500).items
        assert [chunk.chunk_index for chunk in listed] == list(range(record.chunks))
        return record.chunks

    def blobs(self, document: Document) -> list[str]:
        """Names and ETags of all that lies below this document's folders."""
        container: Any = self.core._blobs._container
        return sorted(
            f"{blob.name} {blob.etag}"
            for kind in ("markdown", "results")
            for blob in container.list_blobs(f"{self.client}/{kind}/{document.document_id}/")
        )

    def told(self, task: Task, seconds: float = 20) -> set[str]:
        """Webhook ids under which the client heard of this task, once the row says so too."""
        self.wait(
            lambda: self.row(task).task,
            lambda now: not now.needs_attention and now.webhook.status == "delivered",
            seconds,
        )
        arrivals = [
            item for item in self.receiver.wait_for({task.task_id}, seconds) if item.task_id == task.task_id
        ]
        assert arrivals and all(arrival.good for arrival in arrivals)
        return {arrival.webhook_id for arrival in arrivals}

    def queue_is_empty(self, seconds: float = 30) -> None:
        self.wait(lambda: self.core.queues.depth(tasks_queue(self.client)), lambda depth: depth == 0, seconds)


@contextmanager
def started(
    module: str, part: str, environment: dict[str, str], log: IO[bytes] | None = None
) -> Iterator[Process]:
    """`log`: where its log goes, if not to ours."""
    command = [sys.executable, "-m", module, "--only", part]
    environment = {"PATH": os.environ["PATH"], "PYTHONFAULTHANDLER": "1", **environment}
    process = Process(command, cwd=ROOT, env=environment, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # the log then says where every thread stands
            process.wait()
            raise

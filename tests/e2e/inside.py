"""Tasks run by the runner inside the test's process, on the real stack."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local.stack import Stack
from shared import runner
from shared.core import Core
from shared.documents import Document, document_id_of_upload
from shared.messages import TaskMessage
from shared.settings import read_settings
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now


@contextmanager
def core_on(stack: Stack, **settings: str) -> Iterator[Core]:
    """Everything real, for a client of its own; nobody else runs its tasks."""
    environment = {**stack.environment(), "CLIENT_IDS": f"c-{secrets.token_hex(6)}", **settings}
    core = Core(read_settings(environment))
    core.prepare()
    try:
        yield core
    finally:
        core.close()


def client_of(core: Core) -> str:
    return core.settings.client_ids[0]


def stored(core: Core, text: str, filename: str = "text.txt") -> Document:
    client, now = client_of(core), utc_now()
    document_id = document_id_of_upload(client, filename, text)
    document = Document(
        document_id=document_id,
        client_id=client,
        filename=filename,
        content_type="text/plain",
        size=len(text),
        created_at=now,
        updated_at=now,
        blob=f"{client}/uploads/{document_id}/{filename}",
    )
    core.blobs.put(document.blob, text.encode(), "text/plain")
    return core.documents.add(document)[0]


def given(core: Core, document: Document, task_type: str = "ingestion", **options: Any) -> Task:
    payload = {"document_id": document.document_id, "options": options}
    return submit(core, client_of(core), Submission(task_type, payload)).task


def attempted(core: Core, task: Task) -> Task:
    """The task after its next attempt, which does not wait for its time."""
    now = now_of(core, task)
    if now.status is TaskStatus.RETRYING:
        row = core.tasks.get(now.client_id, now.task_id)
        assert row is not None
        now = core.tasks.save(row, now.model_copy(update={"next_attempt_at": utc_now()})).task
    runner.run(core, now.client_id, TaskMessage.of(now).encode(), message_id="m")
    return now_of(core, task)


def now_of(core: Core, task: Task) -> Task:
    row = core.tasks.get(task.client_id, task.task_id)
    assert row is not None
    return row.task


def code_of(task: Task) -> str | None:
    return task.error.code if task.error else None

"""A container's life: one document, ingested by a process that does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from local.app import App
from local.receiver import Receiver
from local.stack import ROOT, Stack
from shared.core import Core
from shared.names import tasks_queue
from shared.settings import read_settings
from shared.signing import client_secret
from tests.e2e.field import Field

CLIENT = "container"


@pytest.fixture
def field(app: App, stack: Stack) -> Iterator[Field]:
    """A client whose queue nobody serves."""
    environment = {**app.environment, "CLIENT_IDS": CLIENT}
    core = Core(read_settings(environment))
    core.prepare()

    def status_of(client: str, task_id: str) -> str:
        row = core.tasks.get(client, task_id)
        return str(row.task.status) if row else ""

    with Receiver({CLIENT: client_secret(core, CLIENT)}, status_of) as receiver:
        yield Field(CLIENT, environment, core, stack.postgres, receiver)
    core.close()


def test_a_document_is_ingested(field: Field) -> None:
    document = field.document()
    task = field.ingestion(document)
    (received,) = field.core.queues.receive(tasks_queue(CLIENT))
    field.core.queues.delete(tasks_queue(CLIENT), received)
    environment = {"PATH": os.environ["PATH"], **field.environment, "TASK_DATA": received.text}
    ended = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    done = field.row(task).task
    assert done.status == "succeeded" and done.result_blob is not None
    assert json.loads(field.core.blobs.read(done.result_blob))["document_id"] == document.document_id
    assert field.whole(document) > 20
    assert len(field.told(task)) == 1

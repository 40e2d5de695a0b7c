"""docs/migration.md: a storage account is copied as the page says, and another one goes on with it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local import ports
from local.stack import Stack
from shared import maintenance, runner, signing, uploads
from shared.core import Core
from shared.documents import Document, DocumentStatus
from shared.keys import Authenticator, create_key
from shared.messages import from_wire
from shared.names import tasks_queue
from shared.settings import read_settings
from shared.storage.accounts import table_service
from shared.tasks import Task, TaskStatus, utc_now
from tests.conftest import SupabaseService
from tests.e2e.inside import attempted, client_of, core_on, given, now_of, stored

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()


def block(language: str) -> str:
    """The only one of its kind, as it stands in a list."""
    [found] = re.findall(rf"^   ```{language}\n(.*?)^   ```$", PAGE, re.DOTALL | re.MULTILINE)
    return re.sub(r"^   ", "", found, flags=re.MULTILINE)


@pytest.fixture
def old(stack: Stack) -> Iterator[Core]:
    with core_on(stack, MODEL_PROVIDER="local", TASK_LEASE_SECONDS="2") as core:
        yield core


@pytest.fixture
def new(old: Core, stack_directory: Path) -> Iterator[Core]:
    """The same settings, on an account of its own."""
    stack = Stack(stack_directory, ports.ANY)
    try:
        stack.start_azurite()
        core = Core(old.settings.model_copy(update=_account(stack)))
        core.prepare()
        yield core
        core.close()
    finally:
        stack.stop()


def _account(stack: Stack) -> dict[str, Any]:
    settings = read_settings({"AZURE_STORAGE_CONNECTION_STRING": stack.azurite.connection_string})
    return {"azure_storage_connection_string": settings.azure_storage_connection_string}


def moved(old: Core, new: Core, names: list[str]) -> None:
    """`names`: blobs, which azcopy would copy."""
    for name in names:
        new.blobs.put(name, old.blobs.read(name), old.blobs.info(name).content_type)
    made: dict[str, Any] = {"__name__": "copy_tables"}
    exec(compile(block("python"), "docs/migration.md", "exec"), made)
    with table_service(old.settings) as source, table_service(new.settings) as target:
        made["copy"](source, target)


def ran(core: Core) -> Task:
    """The one task that waits on the queue, after its attempt."""
    client = client_of(core)
    (message,) = core.queues.receive(tasks_queue(client))
    runner.run(core, client, from_wire(message.text), message_id=message.id)
    core.queues.delete(tasks_queue(client), message)
    row = core.tasks.get(client, str(json.loads(from_wire(message.text))["task_id"]))
    assert row is not None
    return row.task


def straight_to_storage(core: Core, text: str) -> Document:
    """A document whose file did not pass the API."""
    client = client_of(core)
    there = stored(core, text, "large.txt")
    announced = there.model_copy(
        update={
            "document_id": f"{there.document_id}-x",
            "status": DocumentStatus.PENDING,
            "blob": f"{client}/uploads/{there.document_id}-x/large.txt",
        }
    )
    core.documents.add(announced)
    core.blobs.put(announced.blob, text.encode(), "text/plain")
    return uploads.received(announced, core.documents, core.blobs, 1000)


def test_an_account_goes_on_in_another_place(old: Core, new: Core, supabase: SupabaseService) -> None:
    client = client_of(old)
    key, _ = create_key(old.keys, client, utc_now())
    secret = signing.client_secret(old, client)
    small = stored(old, "The ferry leaves at nine.")
    large = straight_to_storage(old, "The mill is closed on Sundays.")
    assert attempted(old, given(old, large)).status is TaskStatus.SUCCEEDED
    waiting = given(old, small)  # its message stays behind

    texts = [str(old.documents.get(client, large.document_id).markdown_blob)]  # type: ignore[union-attr]
    moved(old, new, [small.blob, large.blob, *texts])

    assert Authenticator(new.keys).client_of(key) == client
    assert signing.client_secret(new, client) == secret
    assert now_of(new, waiting).status is TaskStatus.QUEUED
    until = time.monotonic() + 30
    while not new.queues.depth(tasks_queue(client)) and time.monotonic() < until:
        maintenance.sweep(new)
        time.sleep(0.2)
    done = ran(new)
    assert (done.task_id, done.status) == (waiting.task_id, TaskStatus.SUCCEEDED), done.error

    failed = attempted(new, given(new, large))
    assert failed.error is not None and failed.error.code == "blob_not_found"
    assert failed.error.message.startswith("The file was replaced")
    with psycopg.connect(supabase.database_url, autocommit=True) as connection:
        connection.execute(block("sql").encode())
    assert attempted(new, given(new, large)).status is TaskStatus.SUCCEEDED

"""Files that go straight to storage, over stores in memory: what is checked, what is pinned, what expires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import maintenance, runner
from shared.deletion import clean_up, delete_document
from shared.documents import Block, ConvertedDocument, Document, DocumentStatus, new_document_id
from shared.errors import BlobNotFound, DocumentCorrupt, DocumentTooLarge, ModelUnavailable
from shared.messages import TaskMessage
from shared.resubmission import resubmit
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from shared.uploads import GRANTED, expiry_of, received
from tests.services import MemoryServices, memory_services, registered

FOR_EVER = float("inf")
CONTENT = b"twelve bytes"


class PlainText:
    """The one thing that is asked of a converter here."""

    def detect(self, path: Path, filename: str) -> str:
        return "txt"


class Services(MemoryServices):
    converter: Any = PlainText()
    models: Any = None


@pytest.fixture(autouse=True)
def reading() -> Iterator[None]:
    with registered("reading", "tests.reading"):
        yield


@pytest.fixture
def services() -> Services:
    return Services(memory_services({"MAX_UPLOAD_BYTES": "1000"}).settings)


def announced(services: MemoryServices, size: int = len(CONTENT), **ago: float) -> Document:
    now, name = utc_now() - timedelta(**ago), new_document_id()
    document = Document(
        document_id=name,
        client_id="acme",
        filename="a.txt",
        content_type="text/plain",
        size=size,
        status=DocumentStatus.PENDING,
        created_at=now,
        updated_at=now,
        blob=f"acme/uploads/{name}/1/a.txt",
    )
    services.tasks.remind("acme", expiry_of(document))
    return services.documents.add(document)[0]


def arrives(services: MemoryServices, document: Document, content: bytes = CONTENT) -> str:
    return services.blobs.put(document.blob, content, "text/plain").etag


def seen(services: MemoryServices, document: Document) -> Document:
    return received(document, services.documents, services.blobs, services.settings.max_upload_bytes)


def run(services: MemoryServices, task: Task) -> Task:
    """One attempt, now."""
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    row = services.tasks.save(row, row.task.model_copy(update={"next_attempt_at": None}))
    runner.run(services, "acme", TaskMessage.of(row.task).encode(), message_id="m")
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    return row.task


def submitted(services: MemoryServices, document: Document, *errors: str) -> Task:
    payload = {"document_id": document.document_id, "errors": list(errors)}
    return submit(services, "acme", Submission("reading", payload)).task


def result(services: MemoryServices, task: Task) -> bytes:
    assert task.status is TaskStatus.SUCCEEDED, task.error
    return services.blobs.read(str(task.result_blob))


# --- what is checked ---------------------------------------------------------------------------------------


def test_a_complete_file_makes_a_pending_document_a_stored_one(services: Services) -> None:
    document = announced(services)
    etag = arrives(services, document)
    stored = seen(services, document)
    assert (stored.status, stored.etag, stored.announced) == (DocumentStatus.STORED, etag, True)
    assert "etag" not in stored.public()
    arrives(services, document, b"other  bytes")
    assert seen(services, document).etag == etag  # the first one counts


@pytest.mark.parametrize(
    ("announced_size", "content", "error", "said"),
    [
        (12, None, BlobNotFound, "not uploaded yet"),
        (13, CONTENT, DocumentCorrupt, "has 12 bytes, but 13 were announced"),
        (12, b"x" * 1001, DocumentTooLarge, "1000 bytes"),
    ],
)
def test_a_task_says_what_is_wrong_with_an_upload(
    services: Services, announced_size: int, content: bytes | None, error: type[Any], said: str
) -> None:
    document = announced(services, announced_size)
    if content is not None:
        arrives(services, document, content)
    task = run(services, submitted(services, document))
    assert task.status is TaskStatus.FAILED and task.error is not None
    assert task.error.code == error.code and said in task.error.message
    assert not task.error.retryable
    left = services.documents.get("acme", document.document_id)
    assert left is not None and left.status is DocumentStatus.PENDING


def test_a_deleted_document_does_not_become_stored(services: Services) -> None:
    document = announced(services)
    delete_document(services, "acme", document.document_id)
    arrives(services, document)
    with pytest.raises(BlobNotFound):
        seen(services, document)


# --- what is pinned ----------------------------------------------------------------------------------------


def test_every_attempt_reads_the_file_that_the_first_one_saw(services: Services) -> None:
    document = announced(services)
    etag = arrives(services, document)
    task = run(services, submitted(services, document, "ModelUnavailable"))
    assert (task.status, task.source_etag) == (TaskStatus.RETRYING, etag)
    assert b"twelve" in result(services, run(services, task))


def test_a_file_that_was_swapped_between_attempts_is_not_read(services: Services) -> None:
    document = announced(services)
    arrives(services, document)
    task = run(services, submitted(services, document, "ModelUnavailable"))
    arrives(services, document, b"other  bytes")
    task = run(services, task)
    assert task.status is TaskStatus.FAILED and task.error is not None
    assert (task.error.code, task.attempt) == ("blob_not_found", 2)
    assert "replaced" in task.error.message
    other = run(services, submitted(services, document))
    assert (
        other.error is not None and "replaced" in other.error.message
    )  # the document's, not the task's alone


class Ill:
    """A model that is away whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise ModelUnavailable


class Reading(PlainText):
    version = "1"

    def convert(self, path: Path, fmt: str, options: Any, **_: Any) -> ConvertedDocument:
        return ConvertedDocument(format=fmt, blocks=(Block(kind="text", text=path.read_text()),))


def test_a_retry_that_can_only_fail_does_not_stand_in_the_way_of_a_newer_ingestion(
    services: Services,
) -> None:
    services.converter, services.models = Reading(), Ill()
    services.blobs.put("acme/uploads/b.txt", b"old", "text/plain")
    submission = Submission("ingestion", {"blob": "uploads/b.txt"})
    task = run(services, submit(services, "acme", submission).task)
    assert task.status is TaskStatus.RETRYING and task.document_id is not None
    services.blobs.put("acme/uploads/b.txt", b"new", "text/plain")
    newer = services.documents.begin("acme", task.document_id)
    task = run(services, task)
    assert task.status is TaskStatus.FAILED
    assert services.documents.begin("acme", task.document_id) == newer + 1


def test_a_blob_that_its_client_names_is_pinned_for_the_task_alone(services: Services) -> None:
    def task(content: bytes, *errors: str) -> Task:
        services.blobs.put("acme/uploads/b.txt", content, "text/plain")
        payload = {"blob": "uploads/b.txt", "errors": list(errors)}
        return run(services, submit(services, "acme", Submission("reading", payload)).task)

    first = task(b"old", "ModelUnavailable")
    assert b"new" in result(services, task(b"new"))
    first = run(services, first)
    assert first.status is TaskStatus.FAILED and first.error is not None
    assert "replaced" in first.error.message
    again = run(services, resubmit(services, "acme", first.task_id))
    assert again.error is not None and again.error.code == "model_unavailable"  # the new file was read
    assert b"new" in result(services, run(services, again))


# --- what expires ------------------------------------------------------------------------------------------


def expire(services: MemoryServices, **later: float) -> None:
    maintenance.expire_due(services, "acme", utc_now() + timedelta(**later), FOR_EVER)


def test_an_upload_that_was_never_used_expires(services: Services) -> None:
    document = announced(services)
    expire(services, hours=24)
    assert services.documents.get("acme", document.document_id) is not None
    expire(services, hours=24, minutes=16)
    assert services.documents.get("acme", document.document_id) is None
    late = arrives(services, document)  # its request began before the address had ended
    assert late and services.blobs.below("acme/uploads/")
    expire(services, days=3)
    assert services.blobs.below("acme/uploads/") == []
    assert services.tasks.expiring("acme", utc_now() + timedelta(days=9)) == []


def test_a_file_of_the_wrong_size_goes_with_it(services: Services) -> None:
    document = announced(services)
    arrives(services, document, b"less")
    expire(services, days=2)
    assert services.documents.get("acme", document.document_id) is None
    assert services.blobs.below("acme/") == []


def test_a_complete_file_is_kept(services: Services) -> None:
    document = announced(services)
    arrives(services, document)
    expire(services, days=2)
    kept = services.documents.get("acme", document.document_id)
    assert kept is not None and kept.status is DocumentStatus.STORED
    assert len(services.blobs.below("acme/")) == 1


def test_a_document_that_a_task_waits_for_is_left_until_that_has_run(services: Services) -> None:
    document = announced(services)
    task = submitted(services, document)
    expire(services, days=2)
    assert services.documents.get("acme", document.document_id) is not None
    run(services, task)
    expire(services, days=2)
    assert services.documents.get("acme", document.document_id) is not None
    expire(services, days=4)
    assert services.documents.get("acme", document.document_id) is None


@pytest.mark.parametrize("recorded", [False, True])
def test_a_file_that_no_document_names_goes_with_the_reminder_of_its_upload(
    services: Services, recorded: bool
) -> None:
    """The API died between the file and its record; the client uploaded it again, or did not."""
    document = announced(services, days=2).model_copy(update={"status": DocumentStatus.STORED})
    services.documents.delete("acme", document.document_id)
    lost = f"acme/uploads/{document.document_id}/0/a.txt"
    for name in (lost, document.blob):
        services.blobs.put(name, CONTENT, "text/plain")
    if recorded:
        services.documents.add(document)
    services.tasks.remind("acme", expiry_of(document))
    expire(services)
    kept = services.blobs.below("acme/uploads/")
    assert {blob.name for blob in kept} >= {lost, document.blob}, "young files may be about to get a record"
    services.tasks.remind("acme", expiry_of(document))
    expire(services, hours=2)
    left = {blob.name for blob in services.blobs.below("acme/uploads/")}
    assert left == ({document.blob} if recorded else set())


def test_an_expiry_without_its_document_is_forgotten(services: Services) -> None:
    document = announced(services, days=3)
    delete_document(services, "acme", document.document_id)
    expire(services)
    assert services.tasks.expiring("acme", utc_now()) == []


@pytest.mark.parametrize("ingested", [False, True])
def test_a_file_that_comes_after_the_deletion_goes_when_nothing_can_come_any_more(
    services: Services, ingested: bool
) -> None:
    document = announced(services)
    if ingested:
        arrives(services, document)
        document = seen(services, document)
    delete_document(services, "acme", document.document_id)
    assert services.blobs.below("acme/") == []
    again = clean_up(services, document, utc_now() + timedelta(minutes=1))
    assert again is not None and again >= utc_now() + GRANTED
    arrives(services, document)  # the address was still good
    assert clean_up(services, document, again + timedelta(seconds=1)) is None
    assert services.blobs.below("acme/") == []

"""A document that is deleted while it is ingested: nothing of it is left, anywhere."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta

import pytest

from shared import maintenance
from shared.core import Core
from shared.tasks import utc_now
from tests.e2e.api import FINAL, Api

FOLDERS = ("uploads", "markdown", "checkpoints", "results")


def files(core: Core, document_id: str) -> list[str]:
    found = [core.blobs.below(f"default/{folder}/{document_id}/") for folder in FOLDERS]
    return [info.name for infos in found for info in infos]


@pytest.mark.parametrize("stage", ["download", "embed", "index"])
def test_a_delete_in_the_middle_of_an_ingestion(default: Api, core: Core, stage: str) -> None:
    word = secrets.token_hex(6)
    text = "\n\n".join(f"Paragraph {n} of the ledger {word}, in words {n * 7}." * 8 for n in range(25))
    document_id = default.upload("ledger.txt", text.encode())["document_id"]
    payload = {"document_id": document_id, "options": {"chunk_tokens": 100}}
    task = default.submit("ingestion", payload)
    late = ["index"] if stage == "index" else ["embed", "index"] if stage == "embed" else None
    while task["status"] not in FINAL and not (
        task["progress"] and (late is None or task["progress"]["stage"] in late)
    ):
        time.sleep(0.02)
        task = default.get(f"/api/tasks/{task['task_id']}")
    assert default.http.delete(f"/api/documents/{document_id}").status_code == 204
    assert default.http.get(f"/api/documents/{document_id}").status_code == 404
    assert default.search(word, mode="text") == []
    default.finished(task)
    assert default.search(word, mode="text") == []
    maintenance.clean_documents(core, utc_now() + timedelta(minutes=2), time.monotonic() + 30)
    assert files(core, document_id) == []
    remains = core.documents.remains("default", document_id)
    assert remains is not None and remains.deleted_at is not None and remains.cleanup_due is None


def test_a_document_that_is_uploaded_again_at_once_keeps_its_file(default: Api, core: Core) -> None:
    content = f"The same again: {secrets.token_hex(6)}.".encode()
    document_id = default.upload("again.txt", content)["document_id"]
    default.http.delete(f"/api/documents/{document_id}")
    assert default.upload("again.txt", content)["document_id"] == document_id
    maintenance.clean_documents(core, utc_now() + timedelta(minutes=90), time.monotonic() + 30)
    done = default.finished(default.submit("ingestion", {"document_id": document_id}))
    assert default.result(done)["chunks"] == 1

"""A retry does not repeat what is done; a crash of the converter costs an attempt, and nothing else."""

from __future__ import annotations

import gzip
import json
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from local.stack import Stack
from shared.cancellation import cancel
from shared.core import Core
from shared.documents import Block, ConvertedDocument
from shared.resubmission import resubmit
from shared.tasks import Task, TaskStatus
from tests.e2e.inside import attempted, client_of, code_of, core_on, given, now_of, stored
from tests.model_server import ModelServer, Reply, error, running

EMBEDDINGS = 64  # texts in one request to a model over HTTP


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with running() as server:
        server.quick = True
        yield server


@pytest.fixture(params=["1"])
def core(request: pytest.FixtureRequest, stack: Stack, model: ModelServer) -> Iterator[Core]:
    """One request at a time, unless a test says otherwise: then it is certain which of them fails."""
    with core_on(
        stack,
        MODEL_PROVIDER="openai",
        OPENAI_BASE_URL=model.url,
        OPENAI_EMBEDDING_DIMENSIONS="384",
        OPENAI_CONCURRENCY=request.param,
    ) as core:
        yield core


several_at_once = pytest.mark.parametrize("core", ["8"], indirect=True)


def ledger(entries: int, mark: str = "") -> str:
    """Each entry is a chunk of its own."""
    return "\n\n".join(
        f"Entry {n}{mark}: " + ", ".join(f"sack {n}-{sack}" for sack in range(9)) for n in range(entries)
    )


def ingest(core: Core, text: str) -> Task:
    return given(core, stored(core, text), chunk_tokens=60)


def result_of(core: Core, task: Task) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(core.blobs.read(str(task.result_blob)))
    return found


def checkpoints(core: Core) -> list[str]:
    from shared.storage.accounts import blob_service

    with blob_service(core.settings) as service:
        container = service.get_container_client("docmill")
        return list(container.list_blob_names(name_starts_with=f"{client_of(core)}/checkpoints/"))


def test_a_failure_near_the_end_costs_no_more_than_what_was_missing(core: Core, model: ModelServer) -> None:
    task = ingest(core, ledger(200))
    model.replies = [None, None, None, *[error(500, Retry_After="0")] * 3]
    failed = attempted(core, task)
    assert (failed.status, code_of(failed)) == (TaskStatus.RETRYING, "model_unavailable")
    assert model.texts == 3 * EMBEDDINGS
    (checkpoint,) = checkpoints(core)
    # The second attempt would give another text if it converted the file, and not what was kept.
    kept = ConvertedDocument.model_validate_json(gzip.decompress(core.blobs.read(checkpoint)))
    renamed = kept.model_copy(update={"title": "Kept"})
    core.blobs.put(checkpoint, gzip.compress(renamed.model_dump_json().encode()), "application/gzip")
    done = attempted(core, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 2)
    document = core.documents.get(client_of(core), str(task.document_id))
    assert document is not None and (document.title, document.chunks) == ("Kept", model.texts)
    assert checkpoints(core) == []
    # One token for each text: the first attempt's are counted too.
    assert result_of(core, done)["usage"] == {"embedding_tokens": model.texts}


@several_at_once
def test_what_is_embedded_beside_a_failure_is_kept(core: Core, model: ModelServer) -> None:
    task = ingest(core, ledger(320))
    model.slow = 0.05
    model.replies = [None, None, error(400)]
    failed = attempted(core, task)
    assert (failed.status, code_of(failed)) == (TaskStatus.FAILED, "model_rejected")
    kept = model.texts
    assert kept >= 2 * EMBEDDINGS and model.most > 1
    resubmit(core, client_of(core), task.task_id)
    done = attempted(core, task)
    assert done.status is TaskStatus.SUCCEEDED
    result = result_of(core, done)
    assert (result["chunks"], result["chunks_reused"]) == (model.texts, kept)
    assert result["usage"] == {"embedding_tokens": model.texts}


@several_at_once
def test_a_provider_that_bears_little_is_asked_less(core: Core, model: ModelServer) -> None:
    """Four requests at once for a document of 12 batches, from a provider that takes two."""
    model.bears, model.slow = 2, 0.02
    done = attempted(core, ingest(core, ledger(12 * EMBEDDINGS)))
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 1)
    assert model.most == 4  # half of OPENAI_CONCURRENCY is for one task
    assert model.refused <= 12
    listed = core.documents.chunks(client_of(core), str(done.document_id), limit=500)
    assert [chunk.chunk_index for chunk in listed.items] == [*range(500)]


@several_at_once
def test_a_document_costs_a_request_for_each_batch_and_none_when_it_comes_again(
    core: Core, model: ModelServer
) -> None:
    chunks = result_of(core, attempted(core, ingest(core, ledger(200))))["chunks"]
    batches = math.ceil(chunks / EMBEDDINGS)
    assert batches > 1
    assert (len(model.requests), model.texts) == (batches, chunks)
    again = result_of(core, attempted(core, ingest(core, ledger(200))))
    assert (again["chunks"], again["chunks_reused"]) == (chunks, chunks)
    assert (len(model.requests), model.texts) == (batches, chunks)


@several_at_once
def test_texts_that_are_the_same_are_embedded_once(core: Core, model: ModelServer) -> None:
    done = attempted(core, ingest(core, "\n\n".join([ledger(1)] * 150)))
    result = result_of(core, done)
    assert result["chunks"] > EMBEDDINGS
    assert result["usage"]["embedding_tokens"] == model.texts < EMBEDDINGS


@several_at_once
def test_cancelling_does_not_wait_for_requests(core: Core, model: ModelServer) -> None:
    task = ingest(core, ledger(320))
    model.always = Reply(hang=True)
    thread = threading.Thread(target=attempted, args=(core, task))
    thread.start()
    until = time.monotonic() + 30
    while len(model.requests) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    asked = time.monotonic()
    cancel(core, client_of(core), task.task_id)
    thread.join(30)
    assert now_of(core, task).status is TaskStatus.CANCELLED
    assert time.monotonic() - asked < 10  # the requests themselves would take 30 s


def test_what_a_failed_ingestion_embedded_is_kept_beside_what_is_shown(
    core: Core, model: ModelServer
) -> None:
    """The document was ingested before: its old generation is shown until the new one is."""
    document = stored(core, ledger(70))
    assert attempted(core, given(core, document, chunk_tokens=60)).status is TaskStatus.SUCCEEDED
    shown, before = core.documents.get(document.client_id, document.document_id), model.texts
    core.blobs.put(document.blob, ledger(140, mark=" anew").encode(), "text/plain")
    task = given(core, document, chunk_tokens=60)
    model.replies = [None, None, *[error(500, Retry_After="0")] * 3]
    assert attempted(core, task).status is TaskStatus.RETRYING
    assert core.documents.get(document.client_id, document.document_id) == shown
    assert attempted(core, task).status is TaskStatus.SUCCEEDED
    now = core.documents.get(document.client_id, document.document_id)
    assert now is not None and now.chunks == model.texts - before


def test_another_task_on_the_same_content_takes_the_text(core: Core, model: ModelServer) -> None:
    document = stored(core, "The tithe barn stands by the mill. It holds the rye.")
    model.replies = [error(400)]
    assert attempted(core, given(core, document)).status is TaskStatus.FAILED
    (checkpoint,) = checkpoints(core)
    other = ConvertedDocument(format="txt", blocks=(Block(kind="text", text="Kept from before."),))
    core.blobs.put(checkpoint, gzip.compress(other.model_dump_json().encode()), "application/gzip")
    assert attempted(core, given(core, document, "summarization")).status is TaskStatus.SUCCEEDED
    stored_summary = core.documents.summary(document.client_id, document.document_id)
    assert stored_summary is not None and stored_summary.summary == "Kept from before."


@pytest.mark.parametrize(
    "garbage",
    [b"", b"no gzip", gzip.compress(b"{}"), gzip.compress(b"{}")[:-9]],
    ids=["nothing", "no gzip", "no document", "cut short"],  # gzip has the time in it, and an id must not
)
def test_a_checkpoint_that_is_damaged_is_ignored(core: Core, model: ModelServer, garbage: bytes) -> None:
    task = ingest(core, f"A text that is converted twice, because of {garbage!r}.")
    model.replies = [error(500, Retry_After="0")] * 3
    attempted(core, task)
    (checkpoint,) = checkpoints(core)
    core.blobs.put(checkpoint, garbage, "application/gzip")
    assert attempted(core, task).status is TaskStatus.SUCCEEDED


def test_a_converter_that_dies_twice_fails_its_task_and_no_other(core: Core) -> None:
    rows = "\n".join(f"{n},rye,{n * 7},spelt" for n in range(300_000))
    task = given(core, stored(core, f"number,grain,price,other\n{rows}", "prices.csv"))
    for attempt, status in ((1, TaskStatus.RETRYING), (2, TaskStatus.FAILED)):
        thread = threading.Thread(target=attempted, args=(core, task))
        thread.start()
        kill_converter_at_work(core, task)
        thread.join(60)
        now = now_of(core, task)
        assert (now.status, code_of(now), now.attempt) == (status, "conversion_crashed", attempt)
        other = ingest(core, f"Another text, after crash {attempt}.")
        assert attempted(core, other).status is TaskStatus.SUCCEEDED


def kill_converter_at_work(core: Core, task: Task) -> None:
    """Kills the child once it has worked for a moment on this task."""
    idle: dict[int, float] = {}
    until = time.monotonic() + 30
    while time.monotonic() < until:
        running = now_of(core, task).status is TaskStatus.RUNNING
        for child in psutil.Process().children() if running else ():
            if "shared.providers.conversion.child" not in child.cmdline():
                continue
            used = child.cpu_times().user
            if used > idle.setdefault(child.pid, used) + 0.1:
                child.kill()
                return
        time.sleep(0.02)
    raise AssertionError("nothing was converted")

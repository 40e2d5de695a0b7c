"""A task whose better reader is away, or is being waited for, from the runner's side."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shared import runner
from shared.cancellation import cancel
from shared.core import Core
from shared.messages import TaskMessage, from_wire
from shared.providers.local import LocalModel
from shared.settings import read_settings
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from tests.contract.test_tiers import mixed
from tests.docling_documents import scan
from tests.docling_serve import DoclingServer, Reply, running
from tests.services import MemoryServices, memory_services

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # see tests/docling_serve.py


@dataclass
class Services(MemoryServices):
    """Stores in memory; the converter and the model are real."""

    converter: Any = None
    models: Any = None


@pytest.fixture(scope="module")
def server() -> Iterator[DoclingServer]:
    with running() as server:
        server.document = lambda first, last: scan(first, last, total=3)
        yield server


@pytest.fixture(scope="module")
def core(server: DoclingServer) -> Iterator[Core]:
    core = Core(read_settings({"DOCLING_PIPELINE": "auto", "DOCLING_SERVE_URL": server.url}))
    yield core
    core.close()


@pytest.fixture
def services(core: Core, server: DoclingServer) -> Services:
    server.always, server.waits = {}, (0, 0)
    server.submissions.clear()
    services = Services(memory_services().settings, converter=core.converter, models=LocalModel())
    services.blobs.put("acme/uploads/mixed.pdf", mixed("tit"), "application/pdf")
    return services


def given(services: Services) -> Task:
    return submit(services, "acme", Submission("ingestion", {"blob": "uploads/mixed.pdf"})).task


def run(services: Services) -> None:
    (received,) = services.queues.receive("acme-tasks", 1)
    runner.run(services, "acme", from_wire(received.text), message_id=received.id)
    services.queues.delete("acme-tasks", received)


def now_of(services: Services, task: Task) -> Task:
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    return row.task


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_reader_that_is_away_costs_an_attempt_and_nothing_else(
    services: Services, server: DoclingServer
) -> None:
    task = given(services)
    server.always = {"submit": Reply(503, headers={"Retry-After": "77"})}
    run(services)
    waiting = now_of(services, task)
    assert waiting.status is TaskStatus.RETRYING and waiting.error is not None
    assert (waiting.error.code, waiting.error.stage) == ("converter_unavailable", "convert")
    assert waiting.next_attempt_at is not None
    assert (waiting.next_attempt_at - utc_now()).total_seconds() > 60
    found = services.documents.search(
        "acme", mode="text", query="page", model=LocalModel().embedding_model, embedding=None, top_k=5
    )
    assert found == []  # nothing of the half that could be read

    server.always = {}
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    services.tasks.save(row, row.task.model_copy(update={"next_attempt_at": utc_now()}))
    runner.run(services, "acme", TaskMessage.of(waiting).encode(), message_id="again")
    done = now_of(services, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 2)
    result = json.loads(services.blobs.read(str(done.result_blob)))
    assert (result["pages"], result["warnings"]) == (3, [])
    markdown = services.blobs.read(result["markdown_blob"]).decode()
    order = [markdown.index(words) for words in ("Page 1", "the image 2", "Page 3")]
    assert order == sorted(order)


def test_cancelling_while_the_reader_works(services: Services, server: DoclingServer) -> None:
    server.waits = (10_000, 0)
    task = given(services)
    thread = threading.Thread(target=run, args=(services,))
    thread.start()
    wait_for(lambda: bool(server.submissions))
    cancel(services, "acme", task.task_id)
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert now_of(services, task).status is TaskStatus.CANCELLED

"""Long documents: sections at once, their order, the language, what was paid for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shared import runner
from shared.documents import Document, DocumentStatus
from shared.messages import TaskMessage
from shared.providers.openai import OpenAIModel
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from tests.model_server import DOCUMENT, ModelServer, chat, error, running
from tests.services import MemoryServices, memory_services

SECTIONS = 6


@dataclass
class Services(MemoryServices):
    """Everything in memory, but for the model."""

    models: Any = None


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running() as server:
        yield server


@pytest.fixture
def services(server: ModelServer) -> Iterator[Services]:
    services = Services(memory_services().settings)
    services.models = OpenAIModel(base_url=server.url, context_tokens=2000)
    yield services
    services.models.close()


def summarised(services: Services, text: str, **options: object) -> Task:
    """A task on a document that was ingested before, after one attempt."""
    now = utc_now()
    services.blobs.put("acme/markdown/doc-0001/1.md", text.encode(), "text/markdown")
    services.documents.add(
        Document(
            document_id="doc-0001",
            client_id="acme",
            filename="long.txt",
            content_type="text/plain",
            size=1,
            status=DocumentStatus.INGESTED,
            blob="acme/uploads/doc-0001/long.txt",
            markdown_blob="acme/markdown/doc-0001/1.md",
            created_at=now,
            updated_at=now,
        )
    )
    wish = Submission("summarization", {"document_id": "doc-0001", "options": options})
    return again(services, submit(services, "acme", wish).task)


def again(services: Services, task: Task) -> Task:
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    services.tasks.save(row, row.task.model_copy(update={"next_attempt_at": None}))
    runner.run(services, "acme", TaskMessage.of(row.task).encode(), message_id="1")
    found = services.tasks.get("acme", task.task_id)
    assert found is not None
    return found.task


def result_of(services: Services, task: Task) -> dict[str, Any]:
    assert task.status is TaskStatus.SUCCEEDED, task.error
    found: dict[str, Any] = json.loads(services.blobs.read(str(task.result_blob)))
    return found


def long_text(sections: int) -> str:
    return "\n\n".join(
        f"Chapter {n} begins here. " + f"The mill number {n} grinds rye and spelt every day. " * 80
        for n in range(sections)
    )


def documents(server: ModelServer) -> list[str]:
    found = [DOCUMENT.search(request.body["messages"][1]["content"]) for request in server.requests]
    return [match[2] for match in found if match]


def test_sections_are_summarised_at_once_and_joined_in_their_order(
    server: ModelServer, services: Services
) -> None:
    server.slow = 0.1
    result = result_of(services, summarised(services, long_text(SECTIONS)))
    assert result["sections"] >= SECTIONS
    assert 1 < server.most <= services.models.concurrency
    mills = [int(number) for number in re.findall(r"mill number (\d+)", documents(server)[-1])]
    assert mills == sorted(mills) and {*mills} == {*range(SECTIONS)}


def test_every_request_is_paid_for_also_those_of_an_attempt_that_failed(
    server: ModelServer, services: Services
) -> None:
    server.replies = [None, None, error(400)]
    task = summarised(services, long_text(SECTIONS))
    assert task.status is TaskStatus.FAILED
    answered = len(server.requests) - 1
    assert task.spent == {"prompt_tokens": 50 * answered, "completion_tokens": 10 * answered}


def test_a_second_attempt_adds_to_the_first(server: ModelServer, services: Services) -> None:
    server.replies = [chat("One."), chat("")]
    first = summarised(services, long_text(2), length="short")
    assert first.status is TaskStatus.RETRYING and first.spent["prompt_tokens"] >= 50
    result = result_of(services, again(services, first))
    later = len(server.requests) * 50 - first.spent["prompt_tokens"]
    assert result["usage"]["prompt_tokens"] >= first.spent["prompt_tokens"] + 150
    assert later >= 150


def test_the_language_is_kept_in_every_step(server: ModelServer, services: Services) -> None:
    """Notes in the language of the summary: the last step then has nothing to translate."""
    summarised(services, long_text(3), language="German")
    assert len(server.requests) > 3
    for request in server.requests:
        system, user = (message["content"] for message in request.body["messages"])
        assert "Write in German (de)" in system and "Write in German (de)" in user

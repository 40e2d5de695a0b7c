"""A span for each request, by its route; what it leads to is told below it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from api.app import create_app
from shared.errors import StorageUnavailable
from shared.keys import Authenticator, create_key
from shared.storage.memory import MemoryTaskStore
from shared.tasks import Task, utc_now
from tests.recording import Recording
from tests.services import MemoryServices, memory_services, registered

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


class MemoryCore(MemoryServices):
    """What the API asks of a core beside the services."""

    authenticator: Authenticator


def asked(
    told: Recording | None, *requests: tuple[str, str], tasks: MemoryTaskStore | None = None, **more: Any
) -> tuple[list[int], Any]:
    """The status of each answer, and the core."""
    core: Any = MemoryCore(memory_services().settings, tasks=tasks or MemoryTaskStore())
    core.authenticator = Authenticator(core.keys)
    if told is not None:
        core.telemetry = told
    headers = {"X-API-Key": create_key(core.keys, "acme", utc_now())[0], **more.pop("headers", {})}

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app=create_app(core), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
            return [(await http.request(method, path, **more)).status_code for method, path in requests]

    with registered("scripted", "tests.scripted"):
        return asyncio.run(ask()), core


def task_of(core: Any) -> Task:
    (task,) = core.tasks.page("acme").items
    assert isinstance(task, Task)
    return task


def test_spans_are_named_by_routes_and_not_by_paths() -> None:
    told = Recording()
    paths = (
        "/api/health",
        "/api/tasks",
        "/api/tasks/task-0123456789",
        "/api/documents/doc-1/chunks",
        "/secret",
    )
    statuses, _ = asked(told, *(("GET", path) for path in paths))
    assert statuses[:3] == [200, 200, 404] and statuses[-1] == 404
    assert [span.name for span in told.spans] == [
        "request GET /api/health",
        "request GET /api/tasks",
        "request GET /api/tasks/{task_id}",
        "request GET /api/documents/{document_id}/chunks",
        "request GET",
    ]
    assert [span.attributes["status"] for span in told.spans] == statuses
    assert [span.failed for span in told.spans] == [None] * 5


def test_a_submission_is_below_its_request() -> None:
    told = Recording()
    body = {"task_type": "scripted", "payload": {}}
    statuses, core = asked(told, ("POST", "/api/tasks"), json=body, headers=GIVEN)
    assert statuses == [202]
    request, submit = told.named("request POST /api/tasks"), told.named("submit")
    assert (request.trace_id, request.parent) == (TRACE, CALLER)
    assert (submit.trace_id, submit.parent) == (TRACE, request.span_id)
    assert task_of(core).traceparent == submit.traceparent


def test_the_task_of_an_upload_is_below_its_request() -> None:
    told = Recording()
    file = {"file": ("note.md", b"# A mill")}
    statuses, core = asked(told, ("POST", "/api/documents?task=ingestion"), files=file, headers=GIVEN)
    assert statuses == [201]
    assert told.named("submit").parent == told.named("request POST /api/documents").span_id
    assert task_of(core).traceparent == told.named("submit").traceparent


class OutOfReach(MemoryTaskStore):
    def page(self, *_: Any, **__: Any) -> Any:
        raise StorageUnavailable


def test_what_breaks_inside_is_a_span_that_failed() -> None:
    told = Recording()
    statuses, _ = asked(told, ("GET", "/api/tasks"), tasks=OutOfReach())
    assert statuses == [503]
    assert told.named("request GET /api/tasks").failed == "503"


def test_while_nobody_is_told_the_trace_of_the_caller_goes_on() -> None:
    body = {"task_type": "scripted", "payload": {}}
    statuses, core = asked(None, ("POST", "/api/tasks"), json=body, headers=GIVEN)
    assert statuses == [202] and task_of(core).traceparent == GIVEN["traceparent"]

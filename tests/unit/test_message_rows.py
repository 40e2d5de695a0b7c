"""The row that a message brings: taken for what a submission writes, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared import runner
from shared.messages import MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, TaskMessage, from_wire, payload_size
from shared.ports import Row
from shared.submission import Submission, enqueue, submit
from shared.tasks import TaskStatus, new_task, utc_now
from tests.services import MemoryServices, memory_services, registered

Message = dict[str, Any]
LETTER = {
    "dead_letter_id": "dl-forged",
    "client_id": "beta",
    "task_id": None,
    "task_type": None,
    "reason": "worker_lost",
    "error": None,
    "attempts": 1,
    "message": "",
    "first_seen_at": "2026-01-01T00:00:00Z",
    "dead_lettered_at": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def services() -> Iterator[MemoryServices]:
    with registered("scripted", "tests.scripted"):
        yield memory_services()


def submitted(services: MemoryServices, **payload: object) -> tuple[Row, Message]:
    """A task's row, and its message, which no queue has any more."""
    task = submit(services, "acme", Submission("scripted", payload)).task
    (received,) = services.queues.receive("acme-tasks")
    services.queues.delete("acme-tasks", received)
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    return row, json.loads(from_wire(received.text))


def run(services: MemoryServices, message: Message) -> object:
    return runner.run(services, "acme", json.dumps(message).encode(), message_id="m1")


def counted(services: MemoryServices) -> list[str]:
    """Fills with the tasks whose rows are read from now on."""
    reads: list[str] = []
    get = services.tasks.get

    def getting(client_id: str, task_id: str) -> Row | None:
        reads.append(task_id)
        return get(client_id, task_id)

    services.tasks.get = getting  # type: ignore[method-assign]
    return reads


def test_the_row_of_a_submission_is_not_read(services: MemoryServices) -> None:
    row, message = submitted(services)
    reads = counted(services)
    run(services, message)
    assert reads == []
    found = services.tasks.get("acme", row.task.task_id)
    assert found is not None and found.task.status is TaskStatus.SUCCEEDED


def _change(**changes: object) -> Callable[[Message], None]:
    return lambda message: message["written"]["task"].update(changes)


@pytest.mark.parametrize(
    "forge",
    [
        _change(max_attempts=1_000),
        _change(document_id="../../../beta/uploads"),
        _change(attempt=5),
        _change(status="running"),
        _change(status="cancelling"),
        _change(next_attempt_at="2099-01-01T00:00:00Z"),
        _change(result_blob="beta/results/none/secret.json"),
        _change(webhook={"url": "https://elsewhere.example.com/", "status": "pending"}),
        _change(created_at="0001-01-01T00:00:00"),
        _change(letter=LETTER),
    ],
)
def test_what_no_submission_writes_is_not_believed(
    services: MemoryServices, forge: Callable[[Message], None]
) -> None:
    row, message = submitted(services)
    forge(message)
    reads = counted(services)
    run(services, message)
    found = services.tasks.get("acme", row.task.task_id)
    assert reads[0] == row.task.task_id
    assert found is not None and found.task.status is TaskStatus.SUCCEEDED
    same = {"max_attempts", "document_id", "webhook", "created_at", "letter"}
    assert found.task.model_dump(include=same) == row.task.model_dump(include=same)


def test_nothing_is_told_of_an_end_that_only_a_message_knows(services: MemoryServices) -> None:
    row, message = submitted(services)
    message["written"]["task"].update(status="failed", letter=LETTER)
    run(services, message)
    assert services.dead_letters.page("beta").items == []
    found = services.tasks.get("acme", row.task.task_id)
    assert found is not None and found.task.status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("etag", ["", "*", 'W/"*"', "*\r\nx: y", 'W/"1"\r\n\r\n{}', 1, None])
def test_an_etag_that_would_guard_nothing_is_not_believed(etag: object) -> None:
    message = TaskMessage.of(new_task("acme", "scripted", {}, utc_now()), "W/\"datetime'2026'\"")
    assert message.row("acme") is not None
    forged = json.loads(message.encode())
    forged["written"]["etag"] = etag
    assert TaskMessage.decode(json.dumps(forged).encode()).row("acme") is None


def test_a_time_without_a_zone_is_not_believed() -> None:
    """It cannot be compared with ours, and what raises ends on the poison queue, which ends the task."""
    task = new_task("acme", "scripted", {}, utc_now().replace(tzinfo=None))
    assert TaskMessage.of(task, "7").row("acme") is None


def test_a_copy_of_another_time_runs_with_what_stands_in_the_row(services: MemoryServices) -> None:
    row, message = submitted(services)
    services.tasks.save(row, row.task.model_copy(update={"payload": {"errors": ["DocumentCorrupt"]}}))
    run(services, message)
    found = services.tasks.get("acme", row.task.task_id)
    assert found is not None and found.task.status is TaskStatus.FAILED


@pytest.mark.parametrize(("task_type", "payload"), [("nothing", {}), ("scripted", {"odd": 1})])
def test_a_message_without_a_row_that_can_never_work_is_refused(
    services: MemoryServices, task_type: str, payload: Message
) -> None:
    task = new_task("acme", task_type, payload, utc_now())
    body = TaskMessage.of(task, "7").encode()
    assert runner.run(services, "acme", body, message_id="m1") is not None
    assert len(services.dead_letters.page("acme").items) == 1


def test_a_number_that_no_message_can_hold_is_read_from_the_row(services: MemoryServices) -> None:
    """JSON has no NaN, and a message says null for it."""
    row, message = submitted(services, seconds=0, retry_after=float("nan"))
    assert message["payload"]["retry_after"] is None
    run(services, message)
    found = services.tasks.get("acme", row.task.task_id)
    assert found is not None and found.task.payload["retry_after"] != found.task.payload["retry_after"]


def test_a_message_that_would_be_too_large_goes_without_the_row(services: MemoryServices) -> None:
    """Small numbers are longer in a message than where they are counted."""
    payload = {"numbers": [1e-05] * ((MAX_PAYLOAD_BYTES - 30) // 6)}
    assert payload_size(payload) <= MAX_PAYLOAD_BYTES
    url = "https://example.com/" + "x" * 2028
    assert enqueue(services, new_task("acme", "scripted", payload, utc_now(), webhook_url=url), etag="7")
    (received,) = services.queues.receive("acme-tasks")
    body = from_wire(received.text)
    assert len(body) <= MAX_MESSAGE_BYTES and "written" not in json.loads(body)

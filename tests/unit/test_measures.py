"""What is told of tasks and deliveries, to a Telemetry that keeps it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from shared import delivery, runner, webhooks
from shared.cancellation import cancel
from shared.errors import InvalidPayload
from shared.logs import JsonLines
from shared.messages import TaskMessage, from_wire
from shared.names import DELIVERIES_QUEUE
from shared.ports import Sent
from shared.providers.conversion.request import Limits
from shared.providers.docling import DoclingConverter
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from shared.telemetry import ids_of
from tests.recording import Recording
from tests.services import MemoryServices, memory_services, registered

URL = "https://example.com/hook"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{CALLER}-01"
STAGED = """
from pydantic import BaseModel
STAGES = {"first": 50, "second": 50}
class Payload(BaseModel): pass
class Result(BaseModel): pass
def run(payload, ctx):
    ctx.progress("first", 0, 1, "")
    ctx.progress("first", 1, 1, "")
    ctx.progress("second", 1, 1, "")
    ctx.progress("unheard of", 1, 1, "")
    ctx.spend(prompt_tokens=7)
    return Result()
"""


@pytest.fixture
def told() -> Recording:
    return Recording()


@pytest.fixture
def services(told: Recording) -> Iterator[MemoryServices]:
    with registered("scripted", "tests.scripted"):
        services = memory_services({"WEBHOOK_RETRY_SECONDS": "0"})
        services.telemetry = told
        yield services


def given(services: MemoryServices, traceparent: str | None = GIVEN, **payload: object) -> Task:
    wish = Submission("scripted", payload, URL, traceparent=traceparent)
    return submit(services, "acme", wish).task


def run_next(services: MemoryServices) -> None:
    (received,) = services.queues.receive("acme-tasks", 1)
    runner.run(services, "acme", from_wire(received.text), message_id=received.id)
    services.queues.delete("acme-tasks", received)


def deliver(services: MemoryServices, *answers: Sent) -> None:
    services.sender.answers = list(answers)
    while messages := services.queues.receive(DELIVERIES_QUEUE, 32):
        for received in messages:
            delivery.deliver(services, from_wire(received.text))
            services.queues.delete(DELIVERIES_QUEUE, received)


def changed(services: MemoryServices, task: Task, **changes: object) -> Task:
    row = services.tasks.get(task.client_id, task.task_id)
    assert row is not None
    return services.tasks.save(row, row.task.model_copy(update=changes)).task


def outcomes(told: Recording) -> dict[str, int]:
    return {key[3]: count for key, count in told.counts.items() if key[0] == "docmill_tasks_total"}


class TestTraces:
    def test_one_trace_from_the_request_to_the_webhook(
        self, services: MemoryServices, told: Recording
    ) -> None:
        task = given(services)
        run_next(services)
        deliver(services, Sent(200))
        submitted = told.named("submit")
        assert (submitted.trace_id, submitted.parent) == (TRACE, CALLER)
        assert task.traceparent == submitted.traceparent
        attempt = told.named("task scripted")
        parents = {span.name: span.parent for span in told.spans}
        assert parents == {
            "submit": CALLER,
            "queue": submitted.span_id,
            "task scripted": submitted.span_id,
            "stage work": attempt.span_id,
            "result": attempt.span_id,
            "webhook": submitted.span_id,
        }
        assert {span.trace_id for span in told.spans} == {TRACE}
        assert attempt.attributes["task_id"] == task.task_id and attempt.attributes["attempt"] == 1
        assert told.named("queue").since == task.created_at
        ((_, _, headers),) = services.sender.sent
        assert headers["traceparent"] == told.named("webhook").traceparent

    def test_without_one_a_trace_begins_at_the_submission(
        self, services: MemoryServices, told: Recording
    ) -> None:
        task = given(services, traceparent=None)
        run_next(services)
        assert told.named("submit").parent is None
        assert len({span.trace_id for span in told.spans}) == 1
        assert ids_of(task.traceparent) == (told.named("submit").trace_id, told.named("submit").span_id)

    def test_a_task_of_another_producer_is_submitted_by_the_worker(
        self, services: MemoryServices, told: Recording
    ) -> None:
        message = TaskMessage(task_type="scripted", payload={}, traceparent=GIVEN)
        runner.run(services, "acme", message.encode(), message_id="m")
        assert told.named("submit").parent == CALLER
        assert told.named("task scripted").parent == told.named("submit").span_id

    def test_a_silent_service_passes_the_trace_of_the_request_on(self, services: MemoryServices) -> None:
        silent = memory_services()
        task = submit(silent, "acme", Submission("scripted", {}, URL, traceparent=GIVEN)).task
        assert task.traceparent == GIVEN
        run_next(silent)
        deliver(silent)
        assert silent.sender.sent[0][2]["traceparent"] == GIVEN

    def test_nobody_sends_a_header_that_is_no_trace(self) -> None:
        silent = memory_services()
        with registered("scripted", "tests.scripted"):
            message = TaskMessage(
                task_type="scripted", payload={}, webhook_url=URL, traceparent="a\r\nx-evil: 1"
            )
            runner.run(silent, "acme", message.encode(), message_id="m")
        deliver(silent)
        assert "traceparent" not in silent.sender.sent[0][2]

    def test_each_retry_waits_and_runs_in_the_same_trace(
        self, services: MemoryServices, told: Recording
    ) -> None:
        task = given(services, errors=["ModelUnavailable"])
        run_next(services)
        due = utc_now() - timedelta(seconds=5)
        changed(services, task, next_attempt_at=due)
        message = TaskMessage.of(changed(services, task)).encode()
        runner.run(services, "acme", message, message_id="m")
        attempts = [span for span in told.spans if span.name == "task scripted"]
        assert [span.failed for span in attempts] == ["model_unavailable", None]
        stages = [span.failed for span in told.spans if span.name == "stage work"]
        assert stages == ["model_unavailable", None]
        assert [span.since for span in told.spans if span.name == "queue"] == [task.created_at, due]
        assert {span.trace_id for span in told.spans} == {TRACE}

    def test_a_receiver_that_fails_is_a_span_that_failed(
        self, services: MemoryServices, told: Recording
    ) -> None:
        given(services)
        run_next(services)
        deliver(services, Sent(500), Sent(None, "timeout"))
        failed = [span.failed for span in told.spans if span.name == "webhook"]
        assert failed == ["500", "timeout"]

    def test_what_is_refused_is_a_span_that_failed(self, services: MemoryServices, told: Recording) -> None:
        with pytest.raises(InvalidPayload):
            given(services, unknown_member="secret text")
        assert told.named("submit").failed == "invalid_payload"


class TestLogs:
    @pytest.fixture
    def lines(self) -> Iterator[io.StringIO]:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonLines())
        logger = logging.getLogger("shared")
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        yield stream
        logger.removeHandler(handler)
        logger.setLevel(before)

    def read(self, stream: io.StringIO) -> list[dict[str, Any]]:
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_lines_name_the_trace_also_while_nobody_is_told(self, lines: io.StringIO) -> None:
        silent = memory_services()
        with registered("scripted", "tests.scripted"):
            submit(silent, "acme", Submission("scripted", {}, URL, traceparent=GIVEN))
            run_next(silent)
            deliver(silent)
        told = self.read(lines)
        assert {line["message"] for line in told} >= {"Started.", "Succeeded.", "Webhook delivered."}
        assert {(line["trace_id"], line["span_id"]) for line in told} == {(TRACE, CALLER)}

    def test_lines_of_an_attempt_name_its_span(
        self, services: MemoryServices, told: Recording, lines: io.StringIO
    ) -> None:
        given(services)
        run_next(services)
        started = next(line for line in self.read(lines) if line["message"] == "Started.")
        assert (started["trace_id"], started["span_id"]) == (TRACE, told.named("task scripted").span_id)

    def test_without_a_trace_there_are_no_such_members(self, lines: io.StringIO) -> None:
        silent = memory_services()
        with registered("scripted", "tests.scripted"):
            submit(silent, "acme", Submission("scripted", {}))
            run_next(silent)
        assert self.read(lines) and not any("trace_id" in line for line in self.read(lines))


class TestMetrics:
    def test_a_task_that_succeeds(self, services: MemoryServices, told: Recording) -> None:
        given(services)
        run_next(services)
        assert outcomes(told) == {"succeeded": 1}
        assert set(told.times) == {
            ("docmill_queue_seconds", "scripted"),
            ("docmill_task_seconds", "scripted"),
            ("docmill_stage_seconds", "scripted", "work"),
        }

    def test_stages_and_tokens(self, services: MemoryServices, told: Recording, tmp_path: Any) -> None:
        import sys

        (tmp_path / "staged_handler.py").write_text(STAGED)
        sys.path.insert(0, str(tmp_path))
        try:
            with registered("staged", "staged_handler"):
                submit(services, "acme", Submission("staged", {}))
                run_next(services)
        finally:
            sys.path.remove(str(tmp_path))
        stages = [key[2] for key in told.times if key[0] == "docmill_stage_seconds"]
        assert stages == ["first", "second", "other"]
        assert told.counts[("docmill_tokens_total", "prompt_tokens")] == 7

    def test_a_retry_and_a_failure(self, services: MemoryServices, told: Recording) -> None:
        task = given(services, errors=["ModelUnavailable", "DocumentCorrupt"])
        run_next(services)
        changed(services, task, next_attempt_at=utc_now())
        message = TaskMessage.of(changed(services, task)).encode()
        runner.run(services, "acme", message, message_id="m")
        assert outcomes(told) == {"retrying": 1, "failed": 1}
        assert told.counts[("docmill_retries_total", "model_unavailable")] == 1

    def test_a_cancellation_is_counted_once_wherever_it_happens(
        self, services: MemoryServices, told: Recording
    ) -> None:
        cancel(services, "acme", given(services).task_id)
        assert outcomes(told) == {"cancelled": 1}
        run_next(services)
        assert outcomes(told) == {"cancelled": 1}

    def test_a_task_that_is_taken_over(self, services: MemoryServices, told: Recording) -> None:
        task = given(services)
        held = {"status": TaskStatus.RUNNING, "owner": "dead", "attempt": 1}
        changed(services, task, lease_until=utc_now() - timedelta(seconds=1), **held)
        run_next(services)
        assert told.counts[("docmill_leases_taken_over_total", "acme")] == 1
        assert told.times[("docmill_queue_seconds", "scripted")][0] >= 1

    def test_a_task_whose_workers_vanished_is_a_dead_letter(
        self, services: MemoryServices, told: Recording
    ) -> None:
        task = given(services)
        held = {"status": TaskStatus.RUNNING, "owner": "dead", "attempt": task.max_attempts}
        changed(services, task, lease_until=utc_now() - timedelta(seconds=1), **held)
        run_next(services)
        assert outcomes(told) == {"failed": 1}
        assert told.counts[("docmill_dead_letters_total", "worker_lost")] == 1
        assert ("docmill_leases_taken_over_total", "acme") not in told.counts

    def test_attempts_at_webhooks_and_a_webhook_that_is_disabled(
        self, services: MemoryServices, told: Recording
    ) -> None:
        webhooks.create(services, "acme", webhooks.Wish(url=URL, event_types=("task.cancelled",)))
        task = submit(services, "acme", Submission("scripted", {})).task
        cancel(services, "acme", task.task_id)
        deliver(services, Sent(500), Sent(410))
        assert told.counts[("docmill_webhook_attempts_total", "http_status")] == 2
        assert told.counts[("docmill_webhooks_disabled_total", "gone")] == 1

    def test_files_pages_and_chunks(self, told: Recording) -> None:
        class Converting(MemoryServices):
            converter: Any = None
            models: Any = None

        from shared.providers.local import LocalModel

        services = Converting(memory_services().settings, telemetry=told)
        services.blobs.put(
            "acme/uploads/note.md", b"# Mill\n\nA mill turns grain into flour.", "text/markdown"
        )
        services.blobs.put("acme/uploads/no.pdf", b"%PDF-1.7 nonsense", "application/pdf")
        services.models = LocalModel("minilm")
        with closing(DoclingConverter(1, 1024, Limits())) as services.converter:
            for name in ("note.md", "no.pdf"):
                submit(services, "acme", Submission("ingestion", {"blob": f"uploads/{name}"}))
                run_next(services)
        assert told.counts[("docmill_conversions_total", "md", "succeeded")] == 1
        assert told.counts[("docmill_conversions_total", "pdf", "document_corrupt")] == 1
        assert told.counts[("docmill_chunks_total",)] == 1
        assert told.counts[("docmill_tokens_total", "embedding_tokens")] > 0
        stages = [span.name for span in told.spans if span.name.startswith("stage")]
        done = ["stage download", "stage convert", "stage chunk", "stage embed", "stage index"]
        assert stages[:5] == done and stages[-1] in {"stage download", "stage convert"}
        assert next(span for span in told.spans[::-1] if span.name in done).failed == "document_corrupt"

"""Spans and metrics as an OpenTelemetry receiver gets them, and what happens when none is there."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared import telemetry
from shared.core import Core
from shared.errors import DocumentCorrupt
from shared.measures import BUCKETS
from shared.providers import opentelemetry
from shared.providers.opentelemetry import OpenTelemetry
from shared.settings import SettingsError, read_settings
from tests.ingestion_endpoint import IngestionEndpoint
from tests.otlp import OtlpReceiver

ROOT = Path(__file__).resolve().parents[2]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"
SERVER, CLIENT, CONSUMER = 2, 3, 5
"""Kinds of spans in the protocol."""


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@contextmanager
def exporting(monkeypatch: pytest.MonkeyPatch, url: str, **environ: str) -> Iterator[OpenTelemetry]:
    """The SDK reads the process's own environment."""
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **environ}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    made = OpenTelemetry(read_settings(asked), "1.2.3")
    try:
        yield made
    finally:
        made.close()


def test_a_span_goes_below_what_was_given(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver) -> None:
    since = datetime.now(UTC) - timedelta(seconds=5)
    with exporting(monkeypatch, receiver.url, OTEL_SERVICE_NAME="mill") as told:
        with told.span("task ingestion", traceparent=GIVEN, task_id="t-1", attempt=2) as span:
            with told.span("queue", traceparent=span.traceparent, since=since):
                pass
            with pytest.raises(DocumentCorrupt), told.span("stage convert", traceparent=span.traceparent):
                raise DocumentCorrupt("with text of a document")
        with told.span("webhook", traceparent="nonsense"):
            pass
        with told.span("request POST", method="POST") as span:
            span.rename("request POST /api/tasks")
            span.note(status=202)
    queue, task, stage = receiver.of_trace(TRACE)
    assert (task.name, task.parent, task.kind, task.failed) == ("task ingestion", SPAN, CONSUMER, False)
    assert task.attributes == {"docmill.task_id": "t-1", "docmill.attempt": 2}
    assert task.resource["service.name"] == "mill" and task.resource["service.version"] == "1.2.3"
    assert (queue.name, queue.parent) == ("queue", task.span_id)
    assert queue.end - queue.start > 4e9
    assert (stage.failed, stage.attributes) == (True, {"error.type": "document_corrupt"})
    webhook, request = sorted((s for s in receiver.spans if s.trace_id != TRACE), key=lambda s: s.start)
    assert (webhook.name, webhook.kind, webhook.parent) == ("webhook", CLIENT, None)
    assert (request.name, request.kind) == ("POST /api/tasks", SERVER)
    assert request.attributes == {"http.request.method": "POST", "http.response.status_code": 202}


def test_metrics_keep_their_names_and_buckets(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    with exporting(monkeypatch, receiver.url) as told:
        told.count("docmill_retries_total", code="timeout")
        told.count("docmill_pages_total", 7)
        told.observe("docmill_task_seconds", 2.0, task_type="ingestion")
        told.count("not_a_metric")
    points = {point.name: point for point in receiver.points}
    assert set(points) == {"docmill_retries_total", "docmill_pages_total", "docmill_task_seconds"}
    assert points["docmill_retries_total"].labels == {"code": "timeout"}
    assert points["docmill_pages_total"].value == 7
    assert points["docmill_task_seconds"].bounds == tuple(map(float, BUCKETS))


def test_nothing_waits_for_the_end_of_the_process(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    timers = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "50"}
    with exporting(monkeypatch, receiver.url, **timers) as told:
        with told.span("submit"):
            told.count("docmill_pages_total")
        until = time.monotonic() + 30
        while not (receiver.spans and receiver.points):
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_caller_who_does_not_want_to_be_recorded_is_not(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    with (
        exporting(monkeypatch, receiver.url) as told,
        told.span("submit", traceparent=GIVEN[:-2] + "00") as span,
    ):
        assert span.traceparent is not None and span.traceparent.startswith(f"00-{TRACE}-")
        assert span.traceparent.endswith("-00")
    assert receiver.spans == []


def test_the_sdk_may_be_switched_off(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver) -> None:
    with exporting(monkeypatch, receiver.url, OTEL_SDK_DISABLED="true") as told:
        with told.span("submit", traceparent=GIVEN) as span:
            assert span.traceparent == GIVEN
        told.count("docmill_pages_total")
    assert receiver.requests == 0


@pytest.mark.parametrize("answer", [None, 500, 403])
def test_a_receiver_that_is_of_no_use_disturbs_nobody_and_is_one_line(
    monkeypatch: pytest.MonkeyPatch, free_port: int, caplog: pytest.LogCaptureFixture, answer: int | None
) -> None:
    """None: there is none."""
    complaint = opentelemetry._at_most(60, lambda what: opentelemetry.log.warning("Lost: %s", what))
    monkeypatch.setattr(opentelemetry, "_complain", complaint)
    timers = {"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_METRIC_EXPORT_INTERVAL": "10"}
    limits = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "8"}
    limits["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] = "4"
    with OtlpReceiver(answer or 200) as receiver, caplog.at_level(logging.INFO):
        url = receiver.url if answer else f"http://127.0.0.1:{free_port}"
        with exporting(monkeypatch, url, **timers, **limits) as told:
            until = time.monotonic() + 30
            while not caplog.records:
                assert time.monotonic() < until
                with told.span("submit"):
                    told.count("docmill_pages_total")
            for _ in range(200):
                with told.span("submit"):
                    told.count("docmill_pages_total")
    assert len(caplog.records) == 1 and "Lost" in caplog.text


def test_application_insights_gets_the_same(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver) -> None:
    monkeypatch.setenv("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    with IngestionEndpoint() as insights:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        both = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "APPLICATIONINSIGHTS_CONNECTION_STRING": insights.connection_string,
        }
        with closing(OpenTelemetry(read_settings(both), "1.2.3")) as told:
            with told.span("task ingestion", traceparent=GIVEN, task_id="t-1") as span:
                span.fail("timeout")
            with told.span("stage convert", traceparent=span.traceparent):
                pass
            told.count("docmill_pages_total", 3)
    (task,), (stage,), (metric,) = map(
        insights.of_kind, ("RequestData", "RemoteDependencyData", "MetricData")
    )
    assert (task["name"], task["success"]) == ("task ingestion", False)
    assert task["properties"]["docmill.task_id"] == "t-1"
    assert (task["ai.operation.id"], task["ai.operation.parentId"]) == (TRACE, SPAN)
    assert (stage["name"], stage["ai.operation.parentId"]) == ("stage convert", task["id"])
    assert task["ai.cloud.role"] == "docmill"
    assert (metric["metrics"][0]["name"], metric["metrics"][0]["value"]) == ("docmill_pages_total", 3)
    assert {span.name for span in receiver.spans} == {"task ingestion", "stage convert"}


def test_a_wrong_connection_string_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="APPLICATIONINSIGHTS_CONNECTION_STRING: "):
        OpenTelemetry(read_settings({"APPLICATIONINSIGHTS_CONNECTION_STRING": "nonsense"}), "1")


INSTALLED = """
import sys
from shared.core import core
from shared.telemetry import installed
told = core().telemetry
print(type(told).__name__, sorted(name for name in sys.modules if name.partition(".")[0] in
      {"opentelemetry", "prometheus_client"} or name.startswith("azure.monitor")))
with told.span("submit"):
    told.count("docmill_pages_total")
"""


def python(code: str, **environ: str) -> str:
    clean = {"PATH": os.environ["PATH"], **environ}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_destination_nothing_is_loaded() -> None:
    assert python(INSTALLED).strip() == "Silent []"


def test_the_end_of_a_process_sends_what_is_left(receiver: OtlpReceiver) -> None:
    told = python(INSTALLED, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert told.startswith("Bounded ") and "azure.monitor" not in told
    assert [span.name for span in receiver.spans] == ["submit"]
    assert receiver.spans[0].resource["service.name"] == "docmill"
    assert [point.name for point in receiver.points] == ["docmill_pages_total"]


MISSING = """
import sys
sys.modules["opentelemetry.sdk"] = None
from shared.core import core
from shared.settings import SettingsError
try:
    core()
except SettingsError as error:
    print(error)
"""


def test_what_is_not_installed_is_named() -> None:
    told = python(MISSING, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert told.startswith("OTEL_EXPORTER_OTLP_ENDPOINT: is set, but opentelemetry.sdk.metrics is not ")
    assert "pip install -c constraints.txt -r requirements.txt" in told


def test_a_core_of_ones_own_tells_nobody() -> None:
    """Only `core()` installs: the command line and tests make their own."""
    core = Core(read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}))
    assert core.telemetry is telemetry.installed()

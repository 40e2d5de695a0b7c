"""One task in one trace: from the request to one process, through the work of another, to the webhook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from local import ports
from local.stack import Stack
from shared.core import Core
from shared.keys import create_key
from shared.settings import read_settings
from shared.tasks import utc_now
from tests.conftest import SupabaseService, data_directory
from tests.e2e.endpoint import Endpoint
from tests.e2e.field import started
from tests.e2e.post_office import wait
from tests.otlp import Exported, OtlpReceiver

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ["download", "convert", "chunk", "embed", "index"]


@dataclass(frozen=True)
class Traced:
    """An API process and a worker, both telling `telemetry`; `http` calls the API as their only client."""

    http: httpx.Client
    telemetry: OtlpReceiver
    webhooks: Endpoint

    def spans(self, trace_id: str) -> list[Exported]:
        """All of them, once the last has come."""
        return wait(
            lambda: self.telemetry.of_trace(trace_id),
            lambda spans: {"webhook", "result", "POST /api/tasks"} <= {span.name for span in spans},
        )


@pytest.fixture(scope="module")
def traced(supabase: SupabaseService) -> Iterator[Traced]:
    """On an Azurite of its own: elsewhere others would serve its queues, and tell nobody."""
    with data_directory() as data, ExitStack() as after:
        stack = Stack(data, ports.ANY)
        after.callback(stack.stop)
        stack.start_azurite()
        telemetry, webhooks = after.enter_context(OtlpReceiver()), after.enter_context(Endpoint())
        environment = {
            **stack.environment(),
            "SUPABASE_URL": supabase.url,
            "SUPABASE_KEY": supabase.key,
            "CLIENT_IDS": "traced",
            "LOG_FORMAT": "json",
            "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.3",
            "OTEL_EXPORTER_OTLP_ENDPOINT": telemetry.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        core = Core(read_settings(environment))
        core.prepare()
        key = create_key(core.keys, "traced", utc_now())[0]
        core.close()
        for part in ("http", "queues"):
            after.enter_context(started("worker", part, environment))
        http = httpx.Client(base_url=environment["DOCMILL_URL"], headers={"X-API-Key": key}, trust_env=False)
        after.callback(http.close)
        wait(lambda: _answers(http), bool)
        yield Traced(http, telemetry, webhooks)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/api/health").status_code == 200
    except httpx.TransportError:
        return False


def submitted(traced: Traced, **headers: str) -> str:
    """Id of an ingestion that tells the webhook endpoint."""
    document = traced.http.post("/api/documents", files={"file": ("mill.txt", b"A mill turns grain.")}).json()
    payload = {"document_id": document["document_id"]}
    body = {"task_type": "ingestion", "payload": payload, "webhook_url": traced.webhooks.url("/hook")}
    answer = traced.http.post("/api/tasks", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def test_a_task_is_one_trace_over_both_processes(traced: Traced) -> None:
    task_id = submitted(traced, traceparent=f"00-{TRACE}-{CALLER}-01")
    spans = traced.spans(TRACE)
    one = {span.name: span for span in spans}
    assert sorted(one) == sorted(
        ["POST /api/tasks", "submit", "queue", "task ingestion", *(f"stage {name}" for name in STAGES),
         "result", "webhook"]
    )  # fmt: skip
    assert len(spans) == len(one)

    request, submit, task = one["POST /api/tasks"], one["submit"], one["task ingestion"]
    below = {name: span.parent for name, span in one.items()}
    assert below.pop("POST /api/tasks") == CALLER
    assert below.pop("submit") == request.span_id
    for name in ("queue", "task ingestion", "webhook"):
        assert below.pop(name) == submit.span_id
    assert set(below.values()) == {task.span_id}

    assert request.attributes["http.response.status_code"] == 202
    assert submit.attributes["docmill.task_id"] == task.attributes["docmill.task_id"] == task_id
    processes = {name: span.resource["service.instance.id"] for name, span in one.items()}
    assert processes["POST /api/tasks"] == processes["submit"] != processes["queue"]
    assert len(set(processes.values())) == 2
    stages = [span.name for span in spans if span.name.startswith("stage")]
    assert stages == [f"stage {name}" for name in STAGES]
    assert not any(span.failed for span in spans)

    (delivered,) = traced.webhooks.at("/hook")
    assert delivered.headers["traceparent"] == f"00-{TRACE}-{one['webhook'].span_id}-01"


def test_a_request_without_a_trace_begins_one(traced: Traced) -> None:
    task_id = submitted(traced)
    (request,) = wait(lambda: [s for s in traced.telemetry.spans if _is_of(s, task_id)], bool)
    spans = traced.spans(request.trace_id)
    assert [span.name for span in spans if span.parent is None] == ["POST /api/tasks"]


def _is_of(span: Exported, task_id: str) -> bool:
    return span.name == "submit" and span.attributes.get("docmill.task_id") == task_id


def test_the_metrics_of_the_worker_arrive_too(traced: Traced) -> None:
    submitted(traced)
    told = wait(
        lambda: {(point.name, point.labels.get("outcome")) for point in traced.telemetry.points},
        lambda names: ("docmill_webhook_attempts_total", "delivered") in names,
    )
    assert ("docmill_tasks_total", "succeeded") in told
    assert ("docmill_conversions_total", "succeeded") in told

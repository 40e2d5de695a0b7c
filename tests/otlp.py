"""An OpenTelemetry receiver: OTLP over HTTP, protobuf decoded, everything kept."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Exported:
    """A span as it arrived."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str | None
    start: int
    """Nanoseconds since 1970, as `end`."""
    end: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What a metric stood at: a counter's value, or how many values a histogram had."""

    name: str
    labels: dict[str, Any]
    value: float
    bounds: tuple[float, ...]


class OtlpReceiver(ThreadingHTTPServer):
    """Listens while it is entered. `status`: what everybody is answered."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.spans: list[Exported] = []
        self.points: list[Point] = []
        self.requests = 0
        self._lock = threading.Lock()

    def __enter__(self) -> OtlpReceiver:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of_trace(self, trace_id: str) -> list[Exported]:
        """In the order of their beginnings."""
        with self._lock:
            return sorted((s for s in self.spans if s.trace_id == trace_id), key=lambda span: span.start)

    def take(self, path: str, body: bytes) -> None:
        with self._lock:
            self.requests += 1
            if path == "/v1/traces":
                self.spans += _spans(body)
            elif path == "/v1/metrics":
                self.points += _points(body)


class _Handler(BaseHTTPRequestHandler):
    server: OtlpReceiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.take(self.path, body)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


def _spans(body: bytes) -> list[Exported]:
    return [
        Exported(
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent=span.parent_span_id.hex() or None,
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            attributes=_attributes(span.attributes),
            resource=_attributes(resource.resource.attributes),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _points(body: bytes) -> list[Point]:
    found = []
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.sum.data_points:
                    value = point.as_double or point.as_int
                    found.append(Point(metric.name, _attributes(point.attributes), value, ()))
                for point in metric.histogram.data_points:
                    bounds = tuple(point.explicit_bounds)
                    found.append(Point(metric.name, _attributes(point.attributes), point.count, bounds))
    return found

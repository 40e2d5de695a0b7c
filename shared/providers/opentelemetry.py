"""Telemetry by OpenTelemetry: spans and metrics over OTLP/HTTP, to Application Insights, or to both.

Where to and how is the SDK's own affair: OTEL_EXPORTER_OTLP_*, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_BSP_*, OTEL_METRIC_EXPORT_*, OTEL_SDK_DISABLED. Everything is sent by threads of the SDK from queues of
limited length: who cannot be reached costs telemetry and nothing else. The SDK's global providers are left
alone, since a host may have its own.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from shared.measures import BUCKETS, METRICS, reason_of
from shared.settings import Settings, SettingsError
from shared.telemetry import Span

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanKind, Tracer

log = logging.getLogger(__name__)
SCOPE = "docmill"
COMPLAIN_SECONDS = 60.0
CLOSE_SECONDS = 5.0
"""Whoever does not take what is left in this time does not get it."""


class OpenTelemetry:
    """Raises SettingsError where a setting asks for what is not installed, or is wrong."""

    def __init__(self, settings: Settings, version: str) -> None:
        try:
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            exporters = _exporters(settings)
        except ImportError as error:
            raise SettingsError(
                f"{_asked_by(settings)}: is set, but {error.name} is not installed. "
                "Example: pip install -c constraints.txt -r requirements.txt"
            ) from error
        _quiet()
        resource = Resource.create({"service.name": settings.otel_service_name, "service.version": version})
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter, _ in exporters:
            traces.add_span_processor(BatchSpanProcessor(exporter))
        readers = [PeriodicExportingMetricReader(exporter) for _, exporter in exporters]
        metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._end = _End(traces.shutdown, metrics.shutdown)
        self._tracer = traces.get_tracer(SCOPE, version)
        meter = metrics.get_meter(SCOPE, version)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                self._counters[name] = meter.create_counter(name, description=metric.help)
            else:
                self._histograms[name] = meter.create_histogram(
                    name, "s", metric.help, explicit_bucket_boundaries_advisory=BUCKETS
                )

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        if name in self._counters:
            self._counters[name].add(amount, labels)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        if name in self._histograms:
            self._histograms[name].record(seconds, labels)

    def span(
        self,
        name: str,
        /,
        *,
        traceparent: str | None = None,
        since: datetime | None = None,
        **attributes: str | int,
    ) -> AbstractContextManager[Span]:
        return _Span(self._tracer, name, traceparent, since, attributes)

    def close(self) -> None:
        """Takes CLOSE_SECONDS at most. The end of the process does the same."""
        self._end()


class _End:
    """Ends the providers at once and waits for CLOSE_SECONDS: by themselves they would wait for minutes.

    Their threads stand ready, since a process that ends starts none.
    """

    def __init__(self, *ends: Callable[[], object]) -> None:
        self._due = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(end,), daemon=True) for end in ends]
        for thread in self._threads:
            thread.start()
        atexit.register(self)

    def __call__(self) -> None:
        atexit.unregister(self)
        self._due.set()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, end: Callable[[], object]) -> None:
        self._due.wait()
        end()


class _Span:
    """The parent is what `traceparent` says and never what is current: threads and processes change hands."""

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        traceparent: str | None,
        since: datetime | None,
        attributes: dict[str, str | int],
    ) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        given = {"traceparent": traceparent} if traceparent else {}
        now = time.time_ns()
        self._given = traceparent
        self._span: OtelSpan = tracer.start_span(
            _title(name),
            context=TraceContextTextMapPropagator().extract(given, Context()),
            kind=_kind(name),
            attributes=_named(attributes),
            start_time=min(now, _nanoseconds(since)) if since else now,
        )

    def __enter__(self) -> _Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(reason_of(error))
        self._span.end()

    @property
    def traceparent(self) -> str | None:
        context = self._span.get_span_context()
        if not context.is_valid:
            return self._given
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def rename(self, name: str) -> None:
        self._span.update_name(_title(name))

    def note(self, **attributes: str | int) -> None:
        self._span.set_attributes(_named(attributes))

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, reason))
        self._span.set_attribute("error.type", reason)


_CONVENTIONS = {"method": "http.request.method", "status": "http.response.status_code"}


def _named(attributes: dict[str, str | int]) -> dict[str, str | int]:
    """Names as the semantic conventions have them, others with a prefix of our own."""
    return {_CONVENTIONS.get(name, f"{SCOPE}.{name}"): value for name, value in attributes.items()}


def _title(name: str) -> str:
    """Of a request as the conventions have it: method and route."""
    return name.removeprefix("request ")


def _kind(name: str) -> SpanKind:
    from opentelemetry.trace import SpanKind

    kinds = {"request": SpanKind.SERVER, "task": SpanKind.CONSUMER, "webhook": SpanKind.CLIENT}
    return kinds.get(name.split(" ", 1)[0], SpanKind.INTERNAL)


def _nanoseconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def _asked_by(settings: Settings) -> str:
    asked = settings.otel_exporter_otlp_endpoint
    return "OTEL_EXPORTER_OTLP_ENDPOINT" if asked else "APPLICATIONINSIGHTS_CONNECTION_STRING"


def _exporters(settings: Settings) -> list[tuple[SpanExporter, MetricExporter]]:
    found: list[tuple[SpanExporter, MetricExporter]] = []
    if settings.otel_exporter_otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        found.append((_watched(OTLPSpanExporter()), _watched(OTLPMetricExporter())))
    if settings.applicationinsights_connection_string:
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

        given: dict[str, Any] = {
            "connection_string": settings.applicationinsights_connection_string.get_secret_value(),
            "disable_offline_storage": True,  # a disk of 0.8 GB is no place for what could not be sent
        }
        try:
            exporters = AzureMonitorTraceExporter(**given), AzureMonitorMetricExporter(**given)
        except ValueError as error:
            raise SettingsError(f"APPLICATIONINSIGHTS_CONNECTION_STRING: {error}") from error
        found.append((_watched(exporters[0]), _watched(exporters[1])))
    return found


def _watched(exporter: Any) -> Any:
    """The exporter, whose failures are one line a minute in our log."""
    export = exporter.export

    def watched(*batch: Any, **options: Any) -> Any:
        try:
            result = export(*batch, **options)
        except Exception as error:
            _complain(type(error).__name__)
            raise
        if result.name != "SUCCESS":
            _complain(type(exporter).__name__)
        return result

    exporter.export = watched
    return exporter


def _at_most(seconds: float, tell: Callable[[str], None]) -> Callable[[str], None]:
    """`tell`, but not again before `seconds` have passed."""
    lock, told = threading.Lock(), [-seconds]

    def maybe(what: str) -> None:
        with lock:
            if time.monotonic() - told[0] < seconds:
                return
            told[0] = time.monotonic()
        tell(what)

    return maybe


_complain = _at_most(
    COMPLAIN_SECONDS, lambda what: log.warning("Telemetry could not be sent (%s): it is lost.", what)
)


def _quiet() -> None:
    """Each of them logs every failure, some with a page of trace."""
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        for name in ("opentelemetry", "azure.monitor.opentelemetry"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

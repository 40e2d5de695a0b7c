"""Telemetry that is kept, for tests to look at."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType

from shared.measures import METRICS, reason_of
from shared.telemetry import Span, ids_of


@dataclass
class RecordedSpan:
    """One that has begun. `parent`: the id of the span that it belongs to, None where a trace begins."""

    recording: Recording
    name: str
    trace_id: str
    parent: str | None
    since: datetime | None
    attributes: dict[str, str | int]
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    failed: str | None = None

    @property
    def traceparent(self) -> str | None:
        return f"00-{self.trace_id}-{self.span_id}-01"

    def rename(self, name: str) -> None:
        self.name = name

    def note(self, **attributes: str | int) -> None:
        self.attributes.update(attributes)

    def fail(self, reason: str) -> None:
        self.failed = reason

    def __enter__(self) -> RecordedSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.failed = reason_of(error)
        self.recording.spans.append(self)


class Recording:
    """Refuses what METRICS does not have. `counts` and `times`: by name and labels in METRICS' order."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.times: dict[tuple[str, ...], list[float]] = {}
        self.spans: list[RecordedSpan] = []
        """In the order of their ends."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.counts[_key("counter", name, labels)] += int(amount)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        self.times.setdefault(_key("histogram", name, labels), []).append(seconds)

    def span(
        self,
        name: str,
        /,
        *,
        traceparent: str | None = None,
        since: datetime | None = None,
        **attributes: str | int,
    ) -> AbstractContextManager[Span]:
        trace_id, parent = ids_of(traceparent) or (secrets.token_hex(16), None)
        return RecordedSpan(self, name, trace_id, parent, since, attributes)

    def close(self) -> None:
        return

    def named(self, name: str) -> RecordedSpan:
        """The only one of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


def _key(kind: str, name: str, labels: dict[str, str]) -> tuple[str, ...]:
    metric = METRICS[name]
    assert metric.kind == kind and set(metric.labels) == set(labels), (name, labels)
    return name, *(labels[label] for label in metric.labels)

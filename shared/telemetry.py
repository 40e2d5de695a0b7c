"""What is counted, timed and traced, whoever is told: Prometheus, OpenTelemetry, or nobody.

The names of the metrics are in docs/operations.md. A trace goes from one process to the next as a
`traceparent` (https://www.w3.org/TR/trace-context/#traceparent-header): in a request, a task, a delivery.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from types import TracebackType
from typing import Protocol

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def ids_of(traceparent: str | None) -> tuple[str, str] | None:
    """Of the trace and of the span; None for what is no traceparent."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return found[1], found[2]


class Span(Protocol):
    """Something that takes its time. An exception that leaves its `with` marks it as failed."""

    @property
    def traceparent(self) -> str | None:
        """For whoever goes on with the trace, in this process or another."""

    def rename(self, name: str) -> None: ...
    def note(self, **attributes: str | int) -> None: ...
    def fail(self, reason: str) -> None:
        """It ends without an exception, and failed all the same."""


class Telemetry(Protocol):
    """Never raises and never waits for anybody outside. Values of labels are few: no ids."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None: ...
    def observe(self, name: str, seconds: float, /, **labels: str) -> None: ...
    def span(
        self,
        name: str,
        /,
        *,
        traceparent: str | None = None,
        since: datetime | None = None,
        **attributes: str | int,
    ) -> AbstractContextManager[Span]:
        """`traceparent`: what it belongs to; without one, or with a wrong one, a trace begins here.
        `since`: when it began, if that was before now."""

    def close(self) -> None:
        """Sends what has not been sent; nothing is told afterwards."""


class _NoSpan:
    """What is passed on is what came in."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def __enter__(self) -> _NoSpan:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def rename(self, name: str) -> None:
        return

    def note(self, **attributes: str | int) -> None:
        return

    def fail(self, reason: str) -> None:
        return


_NO_SPAN = _NoSpan(None)


class Silent:
    """Tells nobody."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        return

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        return

    def span(
        self,
        name: str,
        /,
        *,
        traceparent: str | None = None,
        since: datetime | None = None,
        **attributes: str | int,
    ) -> AbstractContextManager[Span]:
        return _NO_SPAN if traceparent is None else _NoSpan(traceparent)

    def close(self) -> None:
        return


class _Spans:
    """The same span, told to several. The trace that goes on is the last one's who has one."""

    def __init__(self, spans: list[AbstractContextManager[Span]], traceparent: str | None) -> None:
        self._entered, self._spans, self._given = ExitStack(), spans, traceparent
        self._inner: list[Span] = []

    def __enter__(self) -> _Spans:
        self._inner = [self._entered.enter_context(span) for span in self._spans]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, trace)

    @property
    def traceparent(self) -> str | None:
        made = [span.traceparent for span in self._inner]
        return next((one for one in reversed(made) if one not in {None, self._given}), self._given)

    def rename(self, name: str) -> None:
        for span in self._inner:
            span.rename(name)

    def note(self, **attributes: str | int) -> None:
        for span in self._inner:
            span.note(**attributes)

    def fail(self, reason: str) -> None:
        for span in self._inner:
            span.fail(reason)


class Several:
    """Tells all of them."""

    def __init__(self, told: tuple[Telemetry, ...]) -> None:
        self._told = told

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        for one in self._told:
            one.count(name, amount, **labels)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        for one in self._told:
            one.observe(name, seconds, **labels)

    def span(
        self,
        name: str,
        /,
        *,
        traceparent: str | None = None,
        since: datetime | None = None,
        **attributes: str | int,
    ) -> AbstractContextManager[Span]:
        spans = [one.span(name, traceparent=traceparent, since=since, **attributes) for one in self._told]
        return _Spans(spans, traceparent)

    def close(self) -> None:
        for one in self._told:
            one.close()


_SILENT = Silent()
_lock = threading.Lock()
_told: list[Telemetry] = []
_installed: Telemetry = _SILENT


def install(telemetry: Telemetry) -> Callable[[], None]:
    """From now on this process tells it too, beside whoever was installed before. Gives what undoes it."""

    def remove() -> None:
        with _lock:
            if telemetry in _told:
                _told.remove(telemetry)
            _choose()

    with _lock:
        _told.append(telemetry)
        _choose()
    return remove


def installed() -> Telemetry:
    """Whom this process tells."""
    return _installed


def close() -> None:
    """At the end of a process: sends what has not been sent."""
    _installed.close()


def _choose() -> None:
    global _installed  # noqa: PLW0603 - one for the process, on purpose
    _installed = _SILENT if not _told else _told[0] if len(_told) == 1 else Several(tuple(_told))

"""A span for every request. What a request leads to is told below it, here and in other processes."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.ports import Services
from shared.telemetry import Silent

HEADER = b"traceparent"


class Traced:
    """ASGI middleware. While somebody is told, endpoints see the span's `traceparent` in place of the
    client's."""

    def __init__(self, app: ASGIApp, services: Services, prefix: str) -> None:
        """`prefix`: of the routers' paths, which routes do not know."""
        self._app = app
        self._services = services
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        telemetry = self._services.telemetry
        if scope["type"] != "http" or isinstance(telemetry, Silent):
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(event: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = event.get("status", status)
            await send(event)

        method = scope["method"]
        with telemetry.span(f"request {method}", traceparent=_given(scope), method=method) as span:
            below = _below(scope, span.traceparent)
            try:
                await self._app(below, receive, watched)
            finally:
                if route := self._route(below):
                    span.rename(f"request {method} {route}")
                span.note(status=status)
            if status >= 500:
                span.fail(str(status))

    def _route(self, scope: Scope) -> str:
        """The template, not the path: names of spans are few, and a path may name a document."""
        path: str = getattr(scope.get("route"), "path", "")
        return path if not path or path.startswith(f"{self._prefix}/") else self._prefix + path


def _given(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == HEADER]
    return given[0].decode("latin-1") if len(given) == 1 else None


def _below(scope: Scope, traceparent: str | None) -> Scope:
    if traceparent is None:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name != HEADER]
    return {**scope, "headers": [*others, (HEADER, traceparent.encode("latin-1"))]}

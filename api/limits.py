"""How large a request body may be: refused by its header, or as soon as it grows too large."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import of_error
from shared.errors import PayloadTooLarge

JSON_BYTES = 256 * 1024
FORM_BYTES = 64 * 1024
"""What a multipart form may add around its file."""


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, multipart_bytes: int) -> None:
        self._app = app
        self._multipart = multipart_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, message = self._limit(scope)
        if _announced(scope) > limit:
            await of_error(PayloadTooLarge(message))(scope, receive, send)
            return
        seen = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            event = await receive()
            seen += len(event.get("body", b""))
            if seen > limit:
                raise HTTPException(413, message)
            return event

        await self._app(scope, counted, send)

    def _limit(self, scope: Scope) -> tuple[int, str]:
        if scope["path"].rstrip("/") == "/api/documents":
            return self._multipart + FORM_BYTES, (
                f"A file sent this way may have {self._multipart} bytes. "
                "Larger ones go straight to storage: POST /api/documents/uploads gives the address."
            )
        return JSON_BYTES, f"The body may have {JSON_BYTES} bytes."


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0

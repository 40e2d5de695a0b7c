"""Cursors of lists ordered by a key: the key of the last item shown, opaque to clients."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from shared.errors import InvalidPayload


def write_cursor(*key: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def read_document_cursor(cursor: str) -> tuple[datetime, str]:
    """Time of creation and id of the last document. Raises InvalidPayload for a cursor that is not ours."""
    try:
        created_at, document_id = _read(cursor)
        time = datetime.fromisoformat(created_at)
        if time.tzinfo is None or not isinstance(document_id, str) or "\x00" in document_id:
            raise ValueError
    except (ValueError, TypeError) as error:
        raise _not_ours() from error
    return time, document_id


def read_chunk_cursor(cursor: str) -> int:
    """Index of the last chunk. Raises InvalidPayload for a cursor that is not ours."""
    try:
        (index,) = _read(cursor)
        if type(index) is not int or not 0 <= index < 2**31:
            raise ValueError
    except (ValueError, TypeError) as error:
        raise _not_ours() from error
    return index


def _read(cursor: str) -> list[Any]:
    key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    if not isinstance(key, list):
        raise TypeError
    return key


def _not_ours() -> InvalidPayload:
    return InvalidPayload("The cursor is not valid. Send next_cursor of the page before, or none.")

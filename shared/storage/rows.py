"""Keys of rows, which sort as lists do, and the cursors that they make."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Final

from shared.errors import InvalidPayload

END: Final = "~"
"""Sorts after every character that our row keys use."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LISTED = re.compile(rf"[0-9]{{18}}\|{_NAME.pattern}")


def legal(name: str) -> bool:
    """Whether there can be a row of that name. Names come from URLs, and the service refuses some."""
    return _NAME.fullmatch(name) is not None


def listing_key(prefix: str, moment: datetime, name: str) -> str:
    """The row key of an item of a list, newest first."""
    return f"{prefix}{inverted(moment)}|{name}"


def inverted(moment: datetime) -> str:
    """A string that sorts the newest moment first: microseconds counted back from a far day."""
    micros = int(moment.timestamp() * 1_000_000)
    return f"{10**17 - micros:018d}"


def stamp(moment: datetime) -> str:
    """A moment as text of fixed width, so that it sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def write_cursor(row_key: str) -> str:
    """Of a list whose keys are those of `listing_key`: the last one shown."""
    return base64.urlsafe_b64encode(row_key.encode()).decode().rstrip("=")


def read_cursor(cursor: str, prefix: str) -> str:
    """Raises InvalidPayload for a cursor that is not of the list with that prefix."""
    try:
        row_key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError as error:
        raise _not_ours() from error
    if not row_key.startswith(prefix) or not _LISTED.fullmatch(row_key, len(prefix)):
        raise _not_ours()
    return row_key


def _not_ours() -> InvalidPayload:
    return InvalidPayload("The cursor is not one that a list gave.")

"""Rows of tables: keys that sort as lists do, cursors, and what it means when two write at once."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, takewhile
from typing import Any, Final

from shared.errors import InvalidPayload, StorageUnavailable
from shared.ports import RowChanged, RowExists

Entity = dict[str, Any]
Operation = tuple[Any, ...]

END: Final = "~"
"""Sorts after every character that our row keys use."""
PART: Final = 16_000
"""Characters of one property, which holds 32 Ki units of UTF-16: a character may take two."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LISTED = re.compile(rf"\d{{18}}\|{_NAME.pattern}")


def legal(name: str) -> bool:
    """Whether there can be a row of that name. Names come from URLs, and the service refuses some."""
    return _NAME.fullmatch(name) is not None


def listed(prefix: str, moment: datetime, name: str) -> str:
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
    """Of a list whose keys are those of `listed`: the last one shown."""
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


def divided(name: str, text: str) -> Entity:
    """A text of any length as properties: `name`, and `name1`, `name2`, ... when it is too long for one."""
    parts = [text[start : start + PART] for start in range(0, len(text), PART)] or [""]
    return {f"{name}{number or ''}": part for number, part in enumerate(parts)}


def joined(name: str, entity: Entity) -> str:
    """The text that `divided` made properties of."""
    names = takewhile(entity.__contains__, (f"{name}{number or ''}" for number in count()))
    return "".join(entity[part] for part in names)


def guarded(entity: Entity, etag: str) -> Operation:
    """Replaces a row if it is still of that ETag."""
    from azure.core import MatchConditions

    condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return ("update", entity, {"mode": "replace", **condition})


@contextmanager
def conflicts() -> Iterator[None]:
    """RowExists and RowChanged in place of what the SDK raises for them."""
    from azure.core.exceptions import HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        if getattr(error, "error_code", None) == "TableNotFound":
            raise StorageUnavailable("The tables are missing: `docmill keys create` makes them.") from error
        kinds: dict[int | None, Callable[[], Exception]] = {409: RowExists, 412: RowChanged, 404: RowChanged}
        made = kinds.get(error.status_code)
        if made is None:
            raise
        raise made() from error

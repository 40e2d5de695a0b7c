"""Entities of Table Storage: found, listed, and written in transactions. A client is a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, Any, Final

from shared.errors import StorageUnavailable
from shared.ports import RowChanged, RowExists
from shared.storage.accounts import storage_errors
from shared.storage.transactions import Entity, Operation, send

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableEntity

PART: Final = 16_000
"""Characters of one property, which holds 32 Ki units of UTF-16: a character may take two."""


def find(table: TableClient, client_id: str, row_key: str) -> TableEntity | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        with storage_errors("table"):
            return table.get_entity(client_id, row_key)
    except ResourceNotFoundError:
        return None


def between(
    table: TableClient,
    client_id: str,
    start: str,
    end: str,
    *,
    limit: int | None = None,
    equal: Mapping[str, str | bool | None] | None = None,
    condition: str = "",
    select: list[str] | None = None,
) -> list[TableEntity]:
    """The first rows after `start` and before `end`, in the order of their keys.

    `equal`: what properties have to be, where it is not None. `condition`: more of it, without values from
    outside.
    """
    wanted = {name: value for name, value in (equal or {}).items() if value is not None}
    query = "PartitionKey eq @client and RowKey gt @start and RowKey lt @end"
    query += "".join(f" and {name} eq @{name}" for name in wanted) + condition
    values = {"client": client_id, "start": start, "end": end, **wanted}
    with storage_errors("table"):
        found = table.query_entities(
            query, parameters=values, results_per_page=limit and min(limit, 1000), select=select
        )
        return list(islice(found, limit))


def submit(table: TableClient, operations: list[Operation], **options: Any) -> str:
    """All of them in one transaction. The new ETag of the first row. Raises RowExists, RowChanged."""
    with conflicts(), storage_errors("table"):
        return send(table, operations, **options)


def inserted(entity: Entity) -> Operation:
    """If there is none."""
    return Operation("POST", entity)


def replaced(entity: Entity, etag: str) -> Operation:
    """If it is still of that ETag. Raises RowChanged for an empty one, which is no row's and would guard
    nothing."""
    if not etag:
        raise RowChanged
    return Operation("PUT", entity, etag)


def deleted(client_id: str, row_key: str, etag: str = "*") -> Operation:
    """If it is still there, and of that ETag when one is given."""
    return Operation("DELETE", {"PartitionKey": client_id, "RowKey": row_key}, etag)


def upserted(entity: Entity) -> Operation:
    return Operation("PUT", entity)


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


def divided(name: str, text: str) -> Entity:
    """A text of any length as properties: `name`, and `name1`, `name2`, ... when it is too long for one."""
    parts = [text[start : start + PART] for start in range(0, len(text), PART)] or [""]
    return {f"{name}{number or ''}": part for number, part in enumerate(parts)}


def joined(name: str, entity: Mapping[str, Any]) -> str:
    """The text that `divided` made properties of."""
    names = takewhile(entity.__contains__, (f"{name}{number or ''}" for number in count()))
    return "".join(entity[part] for part in names)

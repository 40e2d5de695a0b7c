"""Transactions of Table Storage on the wire: several changes of one partition, all or none, in one request.

Source: learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions. The SDK writes the
same, and starts a dozen threads for each to do so, which takes longer than everything else about a task. The
request goes the SDK's own way, by its client: authentication, retries, time limits.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.core.rest import HttpResponse
    from azure.data.tables import TableClient

Entity = dict[str, Any]
"""Properties are text or truth values: each is of the type that its JSON has."""
_STATUS = re.compile(r"HTTP/1\.1 (\d{3}) ")
_ETAG = re.compile(r"^etag: *(.+?)\r?$", re.IGNORECASE | re.MULTILINE)
_CODE = re.compile(r'"code" *: *"(\w+)"')
_VERSIONS: Final = {"DataServiceVersion": "3.0", "MaxDataServiceVersion": "3.0;NetFx"}


@dataclass(frozen=True)
class Operation:
    """`method`: POST for a new row, PUT for a whole row, DELETE. `etag`: what the row must have, `*` anything
    as long as it is there."""

    method: str
    entity: Entity
    etag: str | None = None


def send(table: TableClient, operations: Sequence[Operation], **options: Any) -> str:
    """The new ETag of the first row. `options`: of the SDK's calls.

    Raises HttpResponseError with `status_code` and `error_code` of the operation that was refused.
    """
    from azure.core.rest import HttpRequest

    boundary = f"batch_{secrets.token_hex(16)}"
    account, _, query = table.url.partition("?")
    headers = {
        **_VERSIONS,
        "x-ms-version": table.api_version,
        "Content-Type": f"multipart/mixed; boundary={boundary}",
        "Accept": "application/json",
    }
    body = _body(boundary, f"{account}/{table.table_name}", operations)
    url = f"{account}/$batch" + (f"?{query}" if query else "")
    request = HttpRequest("POST", url, headers=headers, content=body)
    # As a stream: the SDK would try to decode what has several parts, and fail.
    with table._client.send_request(request, stream=True, **options) as response:
        response.read()
        return _first_etag(response, operations)


def _body(boundary: str, table: str, operations: Sequence[Operation]) -> bytes:
    changes = f"changeset{boundary}"
    lines = [f"--{boundary}", f"Content-Type: multipart/mixed; boundary={changes}", ""]
    for number, operation in enumerate(operations):
        lines += [
            f"--{changes}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: {number}",
            "",
            *_part(table, operation),
        ]
    lines += [f"--{changes}--", f"--{boundary}--", ""]
    return "\r\n".join(lines).encode()


def _part(table: str, operation: Operation) -> list[str]:
    new, gone = operation.method == "POST", operation.method == "DELETE"
    body = "" if gone else json.dumps(operation.entity)
    url = table if new else f"{table}({_keys(operation.entity)})"
    return [
        f"{operation.method} {url} HTTP/1.1",
        "Accept: application/json;odata=minimalmetadata",
        "DataServiceVersion: 3.0",
        *(["Prefer: return-no-content"] if new else []),
        *([f"If-Match: {operation.etag}"] if operation.etag else []),
        *([] if gone else ["Content-Type: application/json", f"Content-Length: {len(body)}"]),
        "",
        body,
    ]


def _keys(entity: Entity) -> str:
    names = ("PartitionKey", "RowKey")
    return ",".join(f"{name}='{quote(entity[name].replace(_QUOTE, _QUOTE * 2), safe='')}'" for name in names)


_QUOTE: Final = "'"


def _first_etag(response: HttpResponse, operations: Sequence[Operation]) -> str:
    """What is deleted has none. An answer without it is an error: a write by no ETag would be guarded by
    nothing."""
    text = response.text()
    if response.status_code != 202:
        raise _refused(response, response.status_code, text)
    parts = _STATUS.split(text)[1:]
    for status, part in zip(parts[::2], parts[1::2], strict=True):
        if not status.startswith("2"):
            raise _refused(response, int(status), part)
    found = _ETAG.search(parts[1]) if parts else None
    whole = len(parts) == 2 * len(operations) and (found or operations[0].method == "DELETE")
    if not whole:
        raise _refused(response, response.status_code, text)
    return found[1] if found else ""


def _refused(response: HttpResponse, status: int, text: str) -> HttpResponseError:
    """What the service says is for a log at the most: `conflicts` and `advice_on` go by the codes."""
    from azure.core.exceptions import HttpResponseError

    found = _CODE.search(text)
    error: Any = HttpResponseError(f"The transaction was refused with {status}.", response=response)
    error.status_code = status
    error.error_code = found[1] if found else response.headers.get("x-ms-error-code")
    refused: HttpResponseError = error
    return refused

"""Who is calling, and what the endpoints are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from shared.core import Core
from shared.errors import Unauthorized

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of the form dm_...")
_bearer = HTTPBearer(auto_error=False)


async def get_core(request: Request) -> Core:
    core: Core = request.app.state.core
    return core


CoreOf = Annotated[Core, Depends(get_core)]


async def get_client(
    core: CoreOf,
    key: Annotated[str | None, Security(_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> str:
    """The client that the key belongs to. Raises Unauthorized."""
    text = key or (bearer.credentials if bearer else None)
    client_id = core.authenticator.remembered(text)
    if client_id is None:
        client_id = await run_in_threadpool(core.authenticator.client_of, text)
    if client_id not in core.settings.client_ids:
        raise Unauthorized
    return client_id


Client = Annotated[str, Depends(get_client)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=500)]

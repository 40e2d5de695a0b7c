"""The HTTP API: one FastAPI app, one router for each resource.

`create_app` wires it to a core; `lazy` is what the Functions app mounts, so that FastAPI is imported by the
first request and not by the import of `function_app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from api import VERSION
from shared.settings import SettingsError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from shared.core import Core

PREFIX = "/api"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def create_app(core: Core) -> FastAPI:
    from fastapi import FastAPI

    from api import dead_letters, deliveries, documents, events, health, problems, search, tasks, webhooks
    from api.limits import BodyLimit
    from api.tracing import Traced
    from api.waiting import Watches

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(core.prepare_once)
        yield

    app = FastAPI(
        title="Docmill",
        version=VERSION,
        summary="Documents in, searchable chunks and summaries out.",
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
        # `Traced` tells of requests. FastAPI would tell whoever the host has installed for itself.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.core = core
    app.state.watches = Watches(core.tasks)
    problems.install(app)
    for resource in (tasks, documents, search, webhooks, deliveries, dead_letters, health):
        app.include_router(resource.router, prefix=PREFIX)
    events.describe(app)
    app.add_middleware(BodyLimit, multipart_bytes=core.settings.max_multipart_bytes)
    app.add_middleware(Traced, services=core, prefix=PREFIX)
    return app


async def lazy(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app of this process's core, built by the first call."""
    try:
        app = _app()
    except SettingsError as error:
        if scope["type"] != "lifespan":
            raise
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await app(scope, receive, send)


_built: list[FastAPI] = []


def _app() -> FastAPI:
    if not _built:
        from shared.core import core

        _built.append(create_app(core()))
    return _built[0]

"""An httpx transport through the app's own HTTP function, as the Functions host calls it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import azure.functions as func
import httpx

from api.app import create_app
from shared.core import Core


class HttpFunction(httpx.BaseTransport):
    """Every request becomes a `func.HttpRequest`; the event loop is one for all, as in the Python worker."""

    def __init__(self, core: Core) -> None:
        self._app = func.AsgiFunctionApp(create_app(core), func.AuthLevel.ANONYMOUS)
        (function,) = self._app.get_functions()
        self._call: Any = function.get_user_function()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked = func.HttpRequest(
            method=request.method,
            url=str(request.url),
            headers=dict(request.headers),
            params=dict(request.url.params),
            route_params={"route": request.url.path.lstrip("/")},
            body=request.read(),
        )
        answer = asyncio.run_coroutine_threadsafe(self._call(asked, _Context()), self._loop).result(60)
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.get_body())

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._app.middleware.notify_shutdown(), self._loop).result(10)
        self._app.startup_task_done = False  # its destructor would shut down a second time
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Context:
    """What the worker passes beside the request; the middleware puts it into the ASGI scope."""

    function_directory = "."
    function_name = "http_app_func"
    invocation_id = "test"
    thread_local_storage = None
    trace_context = None
    retry_context = None

"""A small real service for tests of `docmill`: it answers by route what the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
KEY = "dm_default_0123456789ab_secret"


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    return status, {
        "type": "about:blank",
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


class Service:
    """Answers by route; several answers to one route are given one after the other, the last for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    def on(self, route: str, *answers: Answer) -> None:
        self.answers[route] = list(answers)

    def answer(self, route: str, headers: dict[str, str], body: bytes) -> Answer:
        self.requests.append((route, headers, body))
        waiting = self.answers.get(route.partition("?")[0])
        if not waiting:
            return problem(404, "not_found", "There is nothing here under this id.")
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def serving(kind: type[Service] = Service) -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            status, body = service.answer(
                f"{self.command} {self.path}", dict(self.headers), self.rfile.read(size)
            )
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("ETag", f'"{len(service.requests)}"')
            if isinstance(body, dict) and "retry_after" in body:
                self.send_header("Retry-After", str(body["retry_after"]))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service = kind(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield service
        server.shutdown()

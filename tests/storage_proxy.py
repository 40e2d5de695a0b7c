"""An HTTP proxy in front of Azurite that keeps a list of blocks, can hold them back, and can lose answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


class StorageProxy:
    """`passes`: how many more blocks get through before all others wait; None for no end.

    `losses`: how many more writes are done and answered with a 503, as when a front end gave up waiting.
    """

    def __init__(self, port: int) -> None:
        self.blocks: list[str] = []
        self.passes: int | None = None
        self.losses = 0
        self.waiting = threading.Event()
        self.released = threading.Event()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        self._lock = threading.Lock()
        self.port = 0

    def forget(self) -> None:
        self.blocks, self.passes = [], None
        self.waiting.clear()
        self.released.set()

    def admit(self, block: str) -> None:
        """Returns when the block may go on."""
        with self._lock:
            free = self.passes is None or self.passes > 0
            if free:
                self.passes = None if self.passes is None else self.passes - 1
                self.blocks.append(block)
                return
        self.released.clear()
        self.waiting.set()
        self.released.wait(60)

    def loses(self, method: str) -> bool:
        with self._lock:
            lost = self.losses > 0 and method not in {"GET", "HEAD"}
            self.losses -= lost
        return lost


@contextmanager
def storage_proxy(port: int) -> Iterator[StorageProxy]:
    proxy = StorageProxy(port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = parse_qs(urlsplit(self.path).query)
            if query.get("comp") == ["block"]:
                proxy.admit(query["blockid"][0])
            headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP]
            answer = proxy.http.request(self.command, self.path, content=body, headers=headers)
            if proxy.loses(self.command):
                answer = httpx.Response(503)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in {*HOP, "content-length"}:
                    self.send_header(name, value)
            head = self.command == "HEAD"
            size = answer.headers.get("content-length", "0") if head else str(len(answer.content))
            self.send_header("Content-Length", size)
            self.end_headers()
            if not head:
                self.wfile.write(answer.content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever was killed in the middle is no error here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield proxy
        proxy.released.set()
        server.shutdown()
    proxy.http.close()

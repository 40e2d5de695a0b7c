"""Counts requests to a storage account, whoever makes them: a proxy before each of its three services.

What passes here is what Azure would bill. A transaction is one request, whatever it changes.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """`found`: how many messages or entities the answer holds."""

    service: str
    method: str
    path: str
    status: int
    found: int

    @property
    def kind(self) -> str:
        """What it does, in a few words."""
        if self.service == "table":
            return _table(self)
        if self.service == "queue":
            return _queue(self)
        return "write a blob" if self.method == "PUT" else f"{self.method} of a blob"


def _table(request: Request) -> str:
    place = request.path.rpartition("/")[2]
    table = place.partition("(")[0]
    if place == "$batch":
        return "transaction"
    if request.method != "GET":
        return f"write one row of {table}"
    if "RowKey=" in place:
        kind = re.search(r"RowKey='([A-Z]\|)", unquote(place))
        return f"read one row of {table}" + (f", {kind[1]}" if kind else "")
    return f"list rows of {table}"


def _queue(request: Request) -> str:
    if not re.search(r"/messages(/|$)", request.path):
        return "look at a queue"
    names = {"POST": "put a message", "DELETE": "delete a message", "PUT": "hold a message"}
    if request.method in names:
        return names[request.method]
    return "receive messages" if request.found else "poll in vain"


class Meter:
    """`connection_string` leads to the account through the meter."""

    def __init__(self, connection_string: str) -> None:
        self._requests: list[Request] = []
        self._gates: list[_Gate] = []
        self.connection_string = re.sub(
            r"(\w+)Endpoint=http://127\.0\.0\.1:(\d+)", self._before, connection_string
        )

    def _before(self, endpoint: re.Match[str]) -> str:
        """The same endpoint with a gate before it."""
        gate = _Gate(endpoint[1].lower(), int(endpoint[2]), self._requests)
        self._gates.append(gate)
        return f"{endpoint[1]}Endpoint=http://127.0.0.1:{gate.server_port}"

    @contextmanager
    def serving(self) -> Iterator[Meter]:
        threads = [threading.Thread(target=gate.serve_forever, daemon=True) for gate in self._gates]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for gate in self._gates:
                gate.shutdown()
                gate.server_close()

    def during(self, call: Callable[[], object]) -> list[Request]:
        """What passed, until a moment after the call has ended: who is done first answers, then tidies up."""
        self._requests.clear()
        call()
        time.sleep(SETTLE_SECONDS)
        return list(self._requests)

    def of(self, call: Callable[[], object]) -> Counter[str]:
        """The same by kind."""
        return Counter(request.kind for request in self.during(call))


class _Gate(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: str, behind: int, requests: list[Request]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service, self.behind, self.requests = service, behind, requests


class _Handler(BaseHTTPRequestHandler):
    """One connection, with one of its own to the service behind."""

    server: _Gate
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)

    def finish(self) -> None:
        self._behind.close()
        super().finish()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = self._answered(body)
        except http.client.RemoteDisconnected:  # it closes what was idle for some seconds
            self._behind.close()
            answer = self._answered(body)
        content = answer.read()
        path = urlsplit(self.path).path
        self.server.requests.append(
            Request(self.server.service, self.command, path, answer.status, _found(content))
        )
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "content-length", "connection", "keep-alive"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answered(self, body: bytes) -> http.client.HTTPResponse:
        self._behind.request(self.command, self.path, body or None, dict(self.headers))
        return self._behind.getresponse()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_MERGE = _pass

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _found(content: bytes) -> int:
    if content.startswith(b"{"):
        listed = json.loads(content).get("value")
        return len(listed) if isinstance(listed, list) else 1
    return content.count(b"<QueueMessage>")

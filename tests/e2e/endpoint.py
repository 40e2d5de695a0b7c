"""An HTTP receiver of webhooks that does as it is told, and keeps count of what comes in."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.tasks import utc_now


@dataclass(frozen=True)
class Answer:
    """`status` None: it hangs until the other side gives up."""

    status: int | None = 204
    headers: Mapping[str, str] = field(default_factory=dict)


HANG = Answer(None)


@dataclass(frozen=True)
class Request:
    """`status`: what it was answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: datetime
    status: int | None

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verified(self, secret: str) -> bool:
        from standardwebhooks import Webhook

        return bool(Webhook(secret).verify(self.body, self.headers))


class Endpoint(ThreadingHTTPServer):
    """Listens while it is entered. Each path is a receiver of its own.

    `always`: the answer to everything, after the answers that `first` has for the path are used up.
    `connections`: all there were, whatever came of them. `most`: requests to one path at once.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, always: Answer = Answer()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.always = always
        self.first: defaultdict[str, list[Answer]] = defaultdict(list)
        self.requests: list[Request] = []
        self.connections = 0
        self.most: Counter[str] = Counter()
        self._open: defaultdict[str, set[socket.socket]] = defaultdict(set)
        self._lock = threading.Lock()

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def url(self, path: str, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Request]:
        """In the order in which they came."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def told(self, path: str) -> set[str]:
        """Ids of the events that this receiver has taken."""
        return {request.webhook_id for request in self.at(path) if request.status == 204}

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed, or gives up, is part of the tests."""

    def entered(self, connection: socket.socket, path: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            under_way = {other for other in self._open[path] if not _hung_up(other)} | {connection}
            self._open[path] = under_way
            self.most[path] = max(self.most[path], len(under_way))
            answer = self.first[path].pop(0) if self.first[path] else self.always
            self.requests.append(Request(path, headers, body, utc_now(), answer.status))
            return answer

    def left(self, connection: socket.socket, path: str) -> None:
        with self._lock:
            self._open[path].discard(connection)


def _hung_up(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        """What a redirect that was followed would lead to."""
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.entered(self.connection, self.path, headers, body)
        if answer.status is None:
            self.connection.recv(1)
            self.server.left(self.connection, self.path)
            return
        self.server.left(self.connection, self.path)  # before the answer: after it the next one may come
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

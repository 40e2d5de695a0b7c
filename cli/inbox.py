"""A receiver of webhooks on this machine, as a client of Docmill would write one.

`docmill webhooks listen` and the demo stand on it.
"""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from errno import EADDRINUSE
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from cli.client import Json, Misuse

HOST = "127.0.0.1"
MAX_BODY = 1024 * 1024
SECONDS = 15.0
"""For a whole request, from its first byte to its last."""
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True)
class Post:
    """What somebody sent, true or not. The names of `headers` are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers.get("webhook-id", "")

    def event(self) -> Json | None:
        """None when the body is no JSON object."""
        try:
            event = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return event if isinstance(event, dict) else None


def data_of(event: Json | None) -> Json:
    """The `data` of an event, empty when there is none."""
    data = (event or {}).get("data")
    return data if isinstance(data, dict) else {}


def doubt(secrets: Iterable[str], post: Post) -> str | None:
    """Why a webhook is not to be believed; None when one of the secrets signed it, just now."""
    missing = [name for name in _HEADERS if not post.headers.get(name)]
    if missing:
        return f"Missing {', '.join(missing)}"
    reason = "No secret to verify it with"
    for secret in secrets:
        found = _doubt(secret, post)
        if found is None:
            return None
        reason = found
    return reason


def _doubt(secret: str, post: Post) -> str | None:
    from standardwebhooks import Webhook, WebhookVerificationError

    try:
        Webhook(secret).verify(post.body, dict(post.headers), json_parse=False)
    except WebhookVerificationError as error:
        return str(error)
    except ValueError:
        return "Malformed signature or body"
    return None


Take = Callable[[Post], int]
"""Takes a request in and gives the status to answer with. Called by several threads."""


class Inbox:
    """Listens on a port of this machine while it is entered, and answers once it is started.

    Port 0 is any free one. Raises Misuse on entering when the port cannot be had. `turned_away` is told in
    words of every request that was no POST, too large or too slow.
    """

    def __init__(
        self,
        port: int,
        take: Take,
        turned_away: Callable[[str], object] | None = None,
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._port = port
        self._handler = _handler(take, turned_away or str, seconds)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Inbox:
        try:
            self._server = _Server((HOST, self._port), self._handler)
        except OSError as error:
            why = "is taken" if error.errno == EADDRINUSE else f"cannot be opened: {error.strerror}"
            raise Misuse(f"Port {self._port} {why}. Choose another by --port.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def start(self) -> None:
        """What came since entering has waited, and is answered now."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that went away is its own affair."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Timed(io.RawIOBase):
    """Reads from a socket while there is time. The socket's own time-out begins anew with every byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def _handler(
    take: Take, turned_away: Callable[[str], object], seconds: float
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def setup(self) -> None:
            super().setup()
            self.rfile.close()
            self.rfile = io.BufferedReader(_Timed(self.connection, seconds))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length")
            if length is None:
                self.send_error(411, "The request has no Content-Length")
            elif not (length.isascii() and length.isdecimal()):
                self.send_error(400, "Content-Length is no number")
            elif len(length) > 9 or int(length) > MAX_BODY:
                self.send_error(413, "The body is larger than 1 MiB")
            else:
                self._take(int(length))

        def _take(self, length: int) -> None:
            body = self.rfile.read(length)
            if len(body) < length:
                self.send_error(400, "The body is shorter than its Content-Length")
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(take(Post(self.path, headers, body)))
            self.end_headers()

        def log_error(self, format: str, *args: Any) -> None:
            turned_away(format % args)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence: whoever takes the requests in says what came."""

    return Handler

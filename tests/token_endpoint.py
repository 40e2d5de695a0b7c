"""A small real HTTP server that hands out tokens as App Service does to a Functions app with an identity.

https://learn.microsoft.com/azure/app-service/overview-managed-identity (REST endpoint reference)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECRET = "header-of-this-machine"


class TokenEndpoint(ThreadingHTTPServer):
    """`life`: seconds that a token lives. `broken`: it answers with 500. `asked`: the queries, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.life = 3600
        self.broken = False
        self.asked: list[dict[str, str]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What Azure sets for the app."""
        return {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}/msi/token",
            "IDENTITY_HEADER": SECRET,
        }

    @property
    def tokens(self) -> list[str]:
        """All that were handed out."""
        return [f"token-{number}" for number in range(1, len(self.asked) + 1)]


class _Handler(BaseHTTPRequestHandler):
    server: TokenEndpoint

    def do_GET(self) -> None:
        if self.server.broken or self.headers.get("X-IDENTITY-HEADER") != SECRET:
            self._send(500, {"statusCode": 500, "message": "no"})
            return
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(query)
        expiry = str(int(time.time()) + self.server.life)
        number = len(self.server.asked)
        self._send(
            200,
            {
                "access_token": f"token-{number}",
                "expires_on": expiry,
                "resource": query.get("resource"),
                "token_type": "Bearer",
            },
        )

    def _send(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running() -> Iterator[TokenEndpoint]:
    server = TokenEndpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

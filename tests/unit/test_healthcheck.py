"""What the container's HEALTHCHECK says, against a real HTTP server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from worker.healthcheck import alive


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server on a free port, which answers /healthz with this status and everything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield str(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (404, False)])
def test_the_worker_is_asked(status: int, expected: bool) -> None:
    with answering(status) as port:
        assert alive({"WORKER_MONITOR_PORT": port}) is expected


def test_nobody_answers() -> None:
    with socket.socket() as taken:  # bound, and not listening: refused, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        assert not alive({"WORKER_MONITOR_PORT": str(taken.getsockname()[1])})


@pytest.mark.parametrize(
    "environ", [{}, {"WORKER_MONITOR_PORT": ""}, {"WORKER_MONITOR_PORT": "9", "TASK_DATA": "{}"}]
)
def test_there_is_nobody_to_ask(environ: dict[str, str]) -> None:
    assert alive(environ)

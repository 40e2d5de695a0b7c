"""Receivers of webhooks on this machine, good and bad, and an internet that leads nowhere else."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Script = Callable[[socket.socket, threading.Event], object]
Resolver = Callable[..., list[tuple[object, ...]]]


class Receiver(ThreadingHTTPServer):
    """Answers with the status and the headers it was told, and remembers the requests."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "https" if context else "http"
        self.port: int = self.server_address[1]
        self.status = 200
        self.headers = {"Retry-After": "17"}
        self.body = b"ok"
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.names: list[str | None] = []
        """What TLS clients asked for by SNI."""
        if context:
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or refuses the certificate, is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers.items()), body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    server = Receiver(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def scripted(script: Script, receive_buffer: int | None = None) -> Iterator[int]:
    """The port of a receiver that does with its first connection what the script says.

    The script may go on until its event is set, or until the client hangs up.
    """
    released = threading.Event()
    with socket.socket() as listener:
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    script(connection, released)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        released.set()
        thread.join()


def answering(begin: bytes, again: bytes = b"", pause: float | None = None) -> Script:
    """Reads a request, sends `begin`, then `again` and again with a pause, and never hangs up by itself.

    Without a pause it sends as fast as it can.
    """

    def script(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(begin)
        if not again:
            released.wait(60)
        while not (released.wait(pause) if pause else released.is_set()):
            connection.sendall(again)

    return script


def named(*addresses: str) -> Resolver:
    """A resolver in which every name has these addresses."""

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


class Internet:
    """Every address outside this machine: `routes` says which port of this machine stands for one.

    To any other there is a refusal.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.routes: dict[str, int] = {}
        self.connected: list[tuple[str, int]] = []
        """Where connections were wanted to, this machine included."""
        connect = socket.socket.connect

        def reroute(connection: socket.socket, address: tuple[str, int]) -> None:
            host, port = address[:2]
            self.connected.append((host, port))
            if host in self.routes:
                connect(connection, ("127.0.0.1", self.routes[host]))
            elif host == "127.0.0.1":
                connect(connection, address)
            else:
                raise ConnectionRefusedError

        monkeypatch.setattr(socket.socket, "connect", reroute)

"""How the storage SDKs send, against servers that answer well, badly, late and not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.core.exceptions import (
    ServiceRequestError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from shared.storage.transport import transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: a\r\nx-one: b\r\n\r\nok"
Answer = bytes | Callable[[socket.socket], None]


@dataclass
class Server:
    """Answers the requests of each connection in order, then hangs up; `seen`: by connection."""

    port: int
    seen: list[list[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/account/things"


@contextmanager
def answering(*connections: list[Answer]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        server = Server(listener.getsockname()[1])

        def serve() -> None:
            for answers in connections:
                with suppress(OSError), listener.accept()[0] as connection:
                    server.seen.append([])
                    for answer in answers:
                        server.seen[-1].append(connection.recv(65536))
                        connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        thread.join()


@pytest.fixture
def sending() -> Iterator[RequestsTransport]:
    with transport() as opened:
        yield opened


def ask(sending: RequestsTransport, url: str, method: str = "GET", **options: Any) -> Any:
    content, stream = options.pop("content", None), options.pop("stream", False)
    request = HttpRequest(method, url, content=content, headers=options.pop("headers", None))
    return sending.send(
        request, connection_timeout=5, read_timeout=options.pop("read_timeout", 5), stream=stream
    )


def test_a_request_goes_out_as_it_was_made(sending: RequestsTransport) -> None:
    with answering([OK]) as server:
        url = f"{server.url}(PartitionKey='a%27%27b',RowKey='T%7C1')?$filter=a%20eq%20'b'"
        answer = ask(sending, url, "PUT", content=b"{}", headers={"x-ms-date": "today"})
    (request,) = server.seen[0]
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert first == f"PUT {url.removeprefix(f'http://127.0.0.1:{server.port}')} HTTP/1.1"
    assert {"Host: 127.0.0.1:" + str(server.port), "x-ms-date: today", "Content-Length: 2"} <= set(headers)
    assert body == b"{}"
    assert (answer.status_code, answer.reason, answer.text()) == (200, "OK", "ok")
    assert answer.headers["X-ONE"] == "a, b"


def test_one_connection_serves_many_requests(sending: RequestsTransport) -> None:
    with answering([OK, OK, OK]) as server:
        assert [ask(sending, server.url).text() for _ in range(3)] == ["ok"] * 3
    assert [len(seen) for seen in server.seen] == [3]


def test_one_that_was_closed_meanwhile_is_not_used(sending: RequestsTransport) -> None:
    with answering([OK], [OK]) as server:
        ask(sending, server.url)
        time.sleep(0.2)  # until the end of it has come
        ask(sending, server.url)
    assert [len(seen) for seen in server.seen] == [1, 1]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "method", "text"),
    [
        (CHUNKED + b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: x\r\n\r\n", "GET", "abcd"),
        (b"HTTP/1.1 204 No Content\r\nETag: 1\r\n\r\n", "DELETE", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "HEAD", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", "POST", "x"),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", ""),
    ],
)
def test_answers_in_all_their_forms(
    sending: RequestsTransport, answer: bytes, method: str, text: str
) -> None:
    with answering([answer, OK]) as server:
        assert ask(sending, server.url, method).text() == text
        assert ask(sending, server.url).text() == "ok"  # nothing of it is left over


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", "old"),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", "x"),
    ],
)
def test_the_last_answer_of_a_connection(sending: RequestsTransport, answer: bytes, text: str) -> None:
    with answering([answer], [OK]) as server:
        assert ask(sending, server.url).text() == text
        assert ask(sending, server.url).text() == "ok"
    assert [len(seen) for seen in server.seen] == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 many OK\r\n\r\n",
    ],
)
def test_an_answer_that_is_none_is_the_services_fault(sending: RequestsTransport, answer: bytes) -> None:
    with answering([answer]) as server, pytest.raises(ServiceResponseError):
        ask(sending, server.url)


def test_silence_ends_in_time(sending: RequestsTransport) -> None:
    released = threading.Event()
    with answering([lambda _: released.wait(30) and None]) as server:
        with pytest.raises(ServiceResponseTimeoutError):
            ask(sending, server.url, read_timeout=0.1)
        released.set()


def test_nobody_there(sending: RequestsTransport, free_port: int) -> None:
    with pytest.raises(ServiceRequestError):
        ask(sending, f"http://127.0.0.1:{free_port}/")


def test_a_name_that_there_is_not(sending: RequestsTransport) -> None:
    with pytest.raises(ServiceRequestError):
        ask(sending, "http://nowhere.invalid/")


def test_what_is_downloaded_comes_in_pieces(sending: RequestsTransport) -> None:
    content = b"x" * 300_000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    with answering([head + content]) as server, ask(sending, server.url, stream=True) as answer:
        assert b"".join(answer.iter_bytes()) == content


def test_a_file_is_uploaded_as_a_stream(sending: RequestsTransport, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"y" * 1000)
    with answering([OK]) as server, path.open("rb") as file:
        headers = {"Content-Length": "1000"}
        assert ask(sending, server.url, "PUT", content=file, headers=headers).text() == "ok"


def test_the_environments_proxy_is_obeyed(
    sending: RequestsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering([OK]) as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert ask(sending, "http://account.example.com/things").text() == "ok"
    assert proxy.seen[0][0].startswith(b"GET http://account.example.com/things HTTP/1.1\r\n")


def test_a_header_of_two_lines_is_not_sent(sending: RequestsTransport, free_port: int) -> None:
    with pytest.raises(ValueError, match="more than one line"):
        ask(sending, f"http://127.0.0.1:{free_port}/", headers={"x": "a\r\nHost: evil"})


def test_a_closed_one_keeps_no_connection() -> None:
    with answering([OK]) as server, transport() as sending:
        ask(sending, server.url)  # an open socket would be a warning at the end, and that an error

"""HttpSender against real receivers. Where it may go at all: test_sender_addresses.py."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from shared.ports import Sent
from shared.providers.excerpt import MAX_EXCERPT
from shared.providers.outbound import MAX_CONNECTIONS, HttpSender
from tests.receivers import Internet, Receiver, answering, named, receiving, scripted

LOCAL = HttpSender(allow_http=True, allow_private=True)
NOT_REACHED = 60
"""Seconds: for what must end by itself, long before."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    return Internet(monkeypatch)


def post(sender: HttpSender, url: str, timeout: float = NOT_REACHED, **headers: str) -> Sent:
    return sender.post(url, b'{"a": 1}', headers, timeout=timeout)


class TestDelivery:
    def test_body_and_headers_arrive(self, receiver: Receiver) -> None:
        url = receiver.url("/in?x=1%20y#part")
        sent = LOCAL.post(url, b'{"a": 1}', {"Content-Type": "application/json"}, timeout=10)
        assert sent == Sent(200, None, 17, "ok")
        ((path, headers, body),) = receiver.seen
        assert (path, body) == ("/in?x=1%20y", b'{"a": 1}')
        assert headers["Content-Type"] == "application/json"
        assert headers["Host"] == f"127.0.0.1:{receiver.port}"
        assert "Accept-Encoding" not in headers

    @pytest.mark.parametrize("status", [202, 404, 410, 429, 500, 503])
    def test_status_and_excerpt_are_told(self, receiver: Receiver, status: int) -> None:
        receiver.status, receiver.body = status, b"why\x00" + b"." * 2000
        sent = post(LOCAL, receiver.url())
        assert sent == Sent(status, None, 17, "why\ufffd" + "." * (MAX_EXCERPT - 6))
        assert sent.ok is (status == 202)

    @pytest.mark.parametrize("encoding", ["gzip", "br", "nonsense"])
    def test_content_encoding_is_only_a_word(self, receiver: Receiver, encoding: str) -> None:
        receiver.headers = {"Content-Encoding": encoding}
        receiver.body = b"\x1f\x8b plain"
        assert post(LOCAL, receiver.url()) == Sent(200, None, None, "\ufffd\ufffd plain")

    def test_proxies_of_the_environment_are_ignored(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert post(LOCAL, receiver.url()).ok

    def test_log_has_no_path(self, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        post(LOCAL, receiver.url("/secret-path?token=secret"))
        assert "127.0.0.1" in caplog.text
        assert "secret" not in caplog.text

    def test_illegal_header(self, receiver: Receiver) -> None:
        assert post(LOCAL, receiver.url(), bad="a\r\nb: c") == Sent(None, "connection_error")
        assert receiver.seen == []


class TestConnecting:
    def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(None, "connection_refused")

    def test_nobody_accepts(self) -> None:
        with _full_listener() as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/", timeout=0.5) == Sent(None, "timeout")

    def test_second_address_is_tried(self, receiver: Receiver, internet: Internet) -> None:
        internet.routes = {"93.184.216.34": receiver.port}
        sender = HttpSender(True, False, resolve=named("8.8.8.8", "93.184.216.34"))
        assert post(sender, "http://hooks.example.com/").ok
        assert internet.connected == [("8.8.8.8", 80), ("93.184.216.34", 80)]

    def test_not_all_of_very_many_addresses_are_tried(self, internet: Internet) -> None:
        sender = HttpSender(True, False, resolve=named(*(f"8.8.8.{n}" for n in range(200))))
        assert post(sender, "http://hooks.example.com/") == Sent(None, "connection_refused")
        assert len(internet.connected) == MAX_CONNECTIONS


@contextmanager
def _full_listener() -> Iterator[int]:
    """A port that is open and does not accept: its queue is full."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listener.getsockname()[1]
        with pytest.raises(TimeoutError):
            for _ in range(100):
                opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.3))
        yield port


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\n\r\n"


class TestSlowReceivers:
    """What drips never lets a single read time out: only one deadline for everything ends it."""

    @pytest.mark.parametrize(
        ("begin", "again", "pause"),
        [
            pytest.param(b"", b"", None, id="silence"),
            pytest.param(HEAD + b"X-Slow: ", b"x", 1, id="headers, a byte a second"),
            pytest.param(b"", HINT, 0.1, id="interim answers without end"),
        ],
    )
    def test_no_status(self, begin: bytes, again: bytes, pause: float | None) -> None:
        with scripted(answering(begin, again, pause)) as port:
            sent = post(LOCAL, f"http://127.0.0.1:{port}/", timeout=1.5)
        assert sent == Sent(None, "timeout")
        assert sent.seconds >= 1.5

    @pytest.mark.parametrize(
        ("begin", "again", "pause"),
        [
            pytest.param(HEAD + b"\r\nhalf", b"x", 1, id="body, a byte a second"),
            pytest.param(CHUNKED + b"4\r\nhalf\r\n", b"1\r\nx\r\n", 0.1, id="chunks without end"),
            pytest.param(HEAD + b"Content-Length: 9\r\n\r\nhalf", b"", None, id="half a body"),
        ],
    )
    def test_the_status_counts(self, begin: bytes, again: bytes, pause: float | None) -> None:
        with scripted(answering(begin, again, pause)) as port:
            sent = post(LOCAL, f"http://127.0.0.1:{port}/", timeout=1.5)
        assert (sent.status_code, sent.failure) == (200, None)
        assert sent.excerpt is not None and sent.excerpt.rstrip("x") == "half"
        assert sent.seconds >= 1.5

    def test_what_is_complete_is_not_waited_for(self) -> None:
        with scripted(answering(HEAD + b"Content-Length: 2\r\n\r\nok")) as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/").seconds < NOT_REACHED

    @pytest.mark.parametrize("pause", [None, 0.05])
    def test_request_is_read_slowly_or_not_at_all(self, pause: float | None) -> None:
        def script(connection: socket.socket, released: threading.Event) -> None:
            while not released.wait(pause):
                connection.recv(1024)

        with scripted(script, receive_buffer=4096) as port:
            sent = LOCAL.post(f"http://127.0.0.1:{port}/", b"x" * 50_000_000, {}, timeout=0.5)
        assert sent == Sent(None, "timeout")

    def test_name_server_that_hangs(self) -> None:
        released = threading.Event()

        def resolve(*_: object, **__: object) -> list[object]:
            released.wait(30)
            return []

        sender = HttpSender(True, True, resolve=resolve)
        assert post(sender, "http://example.com/", timeout=0.3) == Sent(None, "timeout")
        released.set()


class TestFloods:
    """They end by what is read, long before the deadline."""

    @pytest.mark.parametrize(
        ("begin", "again"),
        [
            pytest.param(HEAD, b"X-More: " + b"x" * 1000 + b"\r\n", id="headers without end"),
            pytest.param(HEAD + b"X-Long: ", b"x" * 1000, id="a header without end"),
            pytest.param(b"", HINT * 100, id="interim answers without end"),
            pytest.param(b"", b"\r\n" * 1000, id="empty lines without end"),
        ],
    )
    def test_no_status(self, begin: bytes, again: bytes) -> None:
        with scripted(answering(begin, again, 0.001)) as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(None, "connection_error")

    @pytest.mark.parametrize(
        ("begin", "again"),
        [
            pytest.param(HEAD + b"\r\n", b"x" * 65536, id="body without end"),
            pytest.param(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n", id="chunks without end"),
        ],
    )
    def test_the_status_counts(self, begin: bytes, again: bytes) -> None:
        with scripted(answering(begin, again)) as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(200, None, None, "x" * MAX_EXCERPT)

    def test_the_size_of_a_chunk_has_no_end(self) -> None:
        with scripted(answering(CHUNKED + b"1;", b"x" * 1000)) as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(200, None, None, "")


class TestNotHttp:
    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"hello\r\n\r\n",
            b"HTTP/1.1 999999 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n: \r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"\x16\x03\x01\x00\x00",
        ],
    )
    def test_no_status(self, answer: bytes) -> None:
        with scripted(lambda connection, _: (connection.recv(65536), connection.sendall(answer))) as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(None, "connection_error")

    def test_another_protocol_is_not_switched_to(self) -> None:
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nmore"
        with scripted(answering(answer)) as port:
            sent = post(LOCAL, f"http://127.0.0.1:{port}/")
        assert not sent.ok

    def test_hangs_up_at_once(self) -> None:
        with scripted(lambda connection, _: connection.close()) as port:
            assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(None, "connection_error")

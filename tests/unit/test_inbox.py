"""The receiver of webhooks on this machine believes what is signed, and lets nobody keep it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from standardwebhooks import Webhook

from cli.client import Misuse
from cli.inbox import MAX_BODY, Inbox, Post, data_of, doubt

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = json.dumps({"type": "task.succeeded", "data": {"task_id": "task-1"}})


def post(*secrets: str, body: str = BODY, age: float = 0, **headers: str) -> Post:
    """Signed by the stock library, by several secrets as during a rotation."""
    at = datetime.now(UTC) - timedelta(seconds=age)
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign("msg_1", at, body) for secret in secrets),
    }
    return Post(
        "/", {**signed, **{name.replace("_", "-"): text for name, text in headers.items()}}, body.encode()
    )


# --- belief ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [[SECRET], [OTHER, SECRET], [SECRET, OTHER]])
@pytest.mark.parametrize("signing", [[SECRET], [OTHER, SECRET], [SECRET, OTHER]])
def test_any_signature_by_any_of_the_secrets_counts(known: list[str], signing: list[str]) -> None:
    assert doubt(known, post(*signing)) is None


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: post(OTHER), "No matching signature"),
        (lambda: post(SECRET, age=330), "too old"),
        (lambda: post(SECRET, age=-600), "too new"),
        (lambda: post(SECRET, webhook_timestamp="yesterday"), "Invalid Signature Headers"),
        (lambda: post(SECRET, webhook_timestamp="nan"), "Invalid Signature Headers"),
        (lambda: post(SECRET, webhook_id="msg_2"), "No matching signature"),
        (lambda: post(SECRET, webhook_signature="v1"), "Malformed"),
        (lambda: post(SECRET, webhook_signature="v1,\xe9"), "Malformed"),
        (lambda: post(SECRET, webhook_signature="v2,abcd"), "No matching signature"),
        (lambda: post(SECRET, webhook_id=""), "Missing webhook-id"),
        (lambda: Post("/", {}, BODY.encode()), "Missing webhook-id, webhook-timestamp, webhook-signature"),
        (lambda: Post("/", post(SECRET).headers, BODY.encode() + b" "), "No matching signature"),
        (lambda: Post("/", post(SECRET).headers, b"\xff"), "Malformed"),
    ],
)
def test_nothing_else_is_believed(made: Callable[[], Post], reason: str) -> None:
    assert reason in str(doubt([SECRET], made()))


def test_without_a_secret_nothing_is_believed() -> None:
    assert doubt([], post(SECRET)) == "No secret to verify it with"


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"data": [1]}', b"9" * 5000])
def test_any_body_can_be_looked_at(body: bytes) -> None:
    assert data_of(Post("/", {}, body).event()) == {}


# --- requests --------------------------------------------------------------------------------------------


class Taken:
    """Everything that an inbox with little patience took in or turned away."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.away: list[str] = []
        self.inbox = Inbox(0, self.take, self.away.append, seconds=0.5)

    def take(self, sent: Post) -> int:
        self.posts.append(sent)
        return 204

    def ask(self, request: bytes) -> bytes:
        """The whole answer to these bytes, after which the connection ends."""
        with self.connected() as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", urlsplit(self.inbox.url).port or 0), timeout=30)


@pytest.fixture
def taken() -> Iterator[Taken]:
    taken = Taken()
    with taken.inbox as inbox:
        inbox.start()
        yield taken


def test_a_body_of_the_largest_size_comes_in_whole(taken: Taken) -> None:
    body = bytes(range(256)) * (MAX_BODY // 256)
    answer = httpx.post(f"{taken.inbox.url}a/b", content=body, headers={"Webhook-Id": "x"}, trust_env=False)
    assert (answer.status_code, answer.content) == (204, b"")
    [sent] = taken.posts
    assert (sent.path, sent.webhook_id, sent.body == body) == ("/a/b", "x", True)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", b"400"),
        (b"POST / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\n\r\n", b"501"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_webhook_is_turned_away(taken: Taken, request_: bytes, status: bytes) -> None:
    assert status in taken.ask(request_)[:200]
    assert (len(taken.posts), len(taken.away)) == (0, 1)


def test_a_body_that_ends_too_early_is_turned_away(taken: Taken) -> None:
    with taken.connected() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort")
        connection.shutdown(socket.SHUT_WR)
        assert b"400" in connection.recv(65536)
    assert taken.posts == []


@pytest.mark.parametrize(
    "start", [b"", b"POST / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 999\r\n\r\n"]
)
def test_a_slow_sender_is_cut_and_keeps_nobody_waiting(taken: Taken, start: bytes) -> None:
    with taken.connected() as slow:
        slow.sendall(start)
        assert httpx.post(taken.inbox.url, content=b"{}", trust_env=False).status_code == 204
        assert dripped(slow)
    assert [reason.partition(":")[0] for reason in taken.away] == ["Request timed out"]
    assert len(taken.posts) == 1


def dripped(connection: socket.socket) -> bool:
    """Sends a byte now and then until the other side ends the connection."""
    connection.settimeout(0.05)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            connection.sendall(b"x")
            if connection.recv(1) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_what_comes_before_the_start_waits() -> None:
    taken = Taken()
    with taken.inbox as inbox, taken.connected() as early:
        early.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        inbox.start()
        assert b"204" in early.recv(65536)


def test_a_port_that_is_taken_is_misuse(taken: Taken) -> None:
    port = urlsplit(taken.inbox.url).port or 0
    with pytest.raises(Misuse, match=f"Port {port} is taken"), Inbox(port, taken.take):
        pass

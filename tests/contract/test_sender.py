"""HttpSender against real receivers, and against addresses that it must never reach."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from shared.errors import InvalidPayload
from shared.ports import Sent
from shared.providers.outbound import HttpSender, is_public

BLOCKED = Sent(None, "blocked_address")


class Receiver(ThreadingHTTPServer):
    """Answers by path: `/status/503`, `/redirect`, `/slow-headers`, `/drip`, `/huge`."""

    daemon_threads = True
    scheme = "http"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or refuses the certificate, is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers.items()), body))
        {"/drip": self.drip, "/slow-headers": self.slow_headers, "/huge": self.huge}.get(
            self.path, self.plain
        )()

    def plain(self) -> None:
        self.send_response(int(self.path.rpartition("/")[2]) if "status" in self.path else 200)
        if "redirect" in self.path:
            self.send_header("Location", "/followed")
        self.send_header("Retry-After", "17")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.released.wait(0.05):
            self.wfile.write(b"x")

    def slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.server.released.wait(0.05):
            self.wfile.write(b"x")

    def huge(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.released.is_set():
            self.wfile.write(b"x" * 65536)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    yield from serve(Receiver())


def serve(server: Receiver) -> Iterator[Receiver]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


AUTHORITY = trustme.CA()


@pytest.fixture
def secure_receiver() -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("hooks.example.com").configure_cert(context)
    server = Receiver()
    server.scheme = "https"
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    yield from serve(server)


def trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def named(*addresses: str) -> Callable[..., list[tuple[object, ...]]]:
    """A resolver in which every name has these addresses."""

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


LOCAL = HttpSender(allow_http=True, allow_private=True)
STRICT = HttpSender(allow_http=False, allow_private=False)


def post(sender: HttpSender, url: str, timeout: float = 10, **headers: str) -> Sent:
    return sender.post(url, b'{"a": 1}', headers, timeout=timeout)


class TestDelivery:
    def test_body_and_headers_arrive(self, receiver: Receiver) -> None:
        sent = LOCAL.post(
            receiver.url("/in?x=1%20y"), b'{"a": 1}', {"Content-Type": "application/json"}, timeout=10
        )
        assert sent == Sent(200, None, 17, "ok")
        ((path, headers, body),) = receiver.seen
        assert (path, body) == ("/in?x=1%20y", b'{"a": 1}')
        assert headers["Content-Type"] == "application/json"
        assert headers["Host"] == f"127.0.0.1:{receiver.server_address[1]}"

    @pytest.mark.parametrize("status", [202, 404, 410, 429, 500, 503])
    def test_status_is_told(self, receiver: Receiver, status: int) -> None:
        sent = post(LOCAL, receiver.url(f"/status/{status}"))
        assert sent == Sent(status, None, 17, "ok")
        assert sent.ok is (status == 202)

    def test_redirects_are_not_followed(self, receiver: Receiver) -> None:
        assert post(LOCAL, receiver.url("/redirect/status/307")).status_code == 307
        assert len(receiver.seen) == 1

    def test_name_in_host_header_and_tls(self, secure_receiver: Receiver) -> None:
        sender = HttpSender(False, True, verify=trust(), resolve=named("127.0.0.1"))
        assert post(sender, secure_receiver.url("/", "hooks.example.com")).status_code == 200
        assert secure_receiver.seen[0][1]["Host"].startswith("hooks.example.com:")

    def test_certificate_of_another_name(self, secure_receiver: Receiver) -> None:
        sender = HttpSender(False, True, verify=trust(), resolve=named("127.0.0.1"))
        assert post(sender, secure_receiver.url("/", "other.example.com")) == Sent(None, "tls_error")

    def test_certificate_of_nobody(self, secure_receiver: Receiver) -> None:
        sender = HttpSender(False, True, resolve=named("127.0.0.1"))
        assert post(sender, secure_receiver.url("/", "hooks.example.com")) == Sent(None, "tls_error")
        assert secure_receiver.seen == []

    def test_tls_to_a_plain_receiver(self, receiver: Receiver) -> None:
        url = receiver.url().replace("http:", "https:")
        assert post(LOCAL, url).failure in {"tls_error", "connection_error"}

    def test_proxies_of_the_environment_are_ignored(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert post(LOCAL, receiver.url()).ok

    def test_second_address_is_tried(self, receiver: Receiver) -> None:
        sender = HttpSender(True, True, resolve=named("127.0.0.2", "127.0.0.1"))
        assert post(sender, receiver.url("/", "hooks.example.com")).ok

    def test_log_has_no_path(self, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        post(LOCAL, receiver.url("/secret-path?token=secret"))
        assert "127.0.0.1" in caplog.text
        assert "secret" not in caplog.text


class TestBadReceivers:
    @pytest.mark.parametrize("path", ["/drip", "/huge"])
    def test_endless_body(self, receiver: Receiver, path: str) -> None:
        started = time.monotonic()
        assert post(LOCAL, receiver.url(path), timeout=0.5).status_code == 200
        assert time.monotonic() - started < 5

    def test_headers_in_drops(self, receiver: Receiver) -> None:
        started = time.monotonic()
        assert post(LOCAL, receiver.url("/slow-headers"), timeout=0.5) == Sent(None, "timeout")
        assert time.monotonic() - started < 5

    def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert post(LOCAL, f"http://127.0.0.1:{port}/") == Sent(None, "connection_refused")

    def test_name_without_address(self) -> None:
        assert post(LOCAL, "http://nowhere.invalid/") == Sent(None, "dns_error")

    def test_name_server_that_hangs(self) -> None:
        released = threading.Event()

        def resolve(*_: object, **__: object) -> list[object]:
            released.wait(30)
            return []

        sender = HttpSender(True, True, resolve=resolve)
        assert post(sender, "http://example.com/", timeout=0.3) == Sent(None, "timeout")
        released.set()

    @pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000])
    def test_not_http(self, answer: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=_answer_once, args=(listener, answer))
            thread.start()
            sent = post(LOCAL, f"http://127.0.0.1:{listener.getsockname()[1]}/")
            thread.join()
        assert sent == Sent(None, "connection_error")

    def test_illegal_header(self, receiver: Receiver) -> None:
        assert post(LOCAL, receiver.url(), bad="a\r\nb: c") == Sent(None, "connection_error")
        assert receiver.seen == []


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        try:
            connection.sendall(answer)
        except OSError:
            return


PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "168.63.129.16", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "93.184.216.34", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"]


class TestAddresses:
    @pytest.mark.parametrize("address", PRIVATE)
    def test_refused(self, address: str) -> None:
        assert not is_public(ipaddress.ip_address(address))
        host = f"[{address}]" if ":" in address else address
        with pytest.raises(InvalidPayload):
            STRICT.check(f"https://{host}/hook")
        assert post(STRICT, f"https://{host}/hook") == BLOCKED
        sender = HttpSender(False, False, resolve=named(address))
        assert post(sender, "https://hooks.example.com/") == BLOCKED

    @pytest.mark.parametrize("address", PUBLIC)
    def test_accepted(self, address: str) -> None:
        assert is_public(ipaddress.ip_address(address))
        STRICT.check(f"https://[{address}]/" if ":" in address else f"https://{address}/")

    @pytest.mark.parametrize(
        "host",
        [
            "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0x7f.0x0.0x0.0x1", "0",
            "017700000001", "127.0.0.1.", "LOCALHOST", "localhost.", "a.localhost", "10.0.0.256", "1.2.3.4.5",
            "0x", "[::1%25lo]", "[fe80::1%eth0]", "[::1", "[1.2.3.4]", "3232235777",
        ],
    )  # fmt: skip
    def test_other_spellings(self, host: str) -> None:
        with pytest.raises(InvalidPayload):
            STRICT.check(f"https://{host}/")
        assert post(STRICT, f"https://{host}/") == BLOCKED

    def test_one_bad_address_among_good_ones(self) -> None:
        sender = HttpSender(False, False, resolve=named("8.8.8.8", "10.0.0.1"))
        assert post(sender, "https://hooks.example.com/") == BLOCKED

    def test_zone_in_a_resolved_address(self) -> None:
        sender = HttpSender(False, False, resolve=named("fe80::1%lo"))
        assert post(sender, "https://hooks.example.com/") == BLOCKED

    def test_name_that_is_rebound(self, receiver: Receiver) -> None:
        """The second answer of the resolver is never asked for: the connection goes to the judged address."""
        answers = [named("8.8.8.8"), named("127.0.0.1")]
        asked: list[str] = []

        def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            return answers[len(asked) - 1](host, port)

        sender = HttpSender(True, False, resolve=resolve)
        sent = post(sender, receiver.url("/", "rebind.example.com"), timeout=0.5)
        assert sent.status_code is None
        assert asked == ["rebind.example.com"]
        assert receiver.seen == []
        assert post(sender, receiver.url("/", "rebind.example.com")) == BLOCKED
        assert receiver.seen == []


class TestCheck:
    @pytest.mark.parametrize(
        "url",
        [
            "https://example.com/hook",
            "https://example.com:8443/hook?a=b",
            "https://xn--bcher-kva.example/",
            "https://EXAMPLE.com",
            "https://a_b.example.com/",
            "https://4chan.example/",
            "https://example.com./",
        ],
    )
    def test_good(self, url: str) -> None:
        STRICT.check(url)

    @pytest.mark.parametrize(
        "url",
        [
            "", "example.com", "//example.com", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
            "https://", "https:///path", "https://user@example.com/", "https://user:pw@example.com/",
            "https://example.com:22/", "https://example.com:0/", "https://example.com:99999/",
            "https://example.com:a/", "https://example.com\\@127.0.0.1/", "https://exa mple.com/",
            "https://example.com/\n", "https://example.com/\x00", "https://bücher.example/",
            "https://１２７.0.0.1/", "https://example.com/" + "a" * 2048, "https://exa%6dple.com/",
            "https://-/", "https://a..b/", "https://example.com:80/", "https://example.com,evil.com/",
        ],
    )  # fmt: skip
    def test_bad(self, url: str) -> None:
        with pytest.raises(InvalidPayload):
            STRICT.check(url)
        assert post(STRICT, url) == BLOCKED

    def test_http_when_allowed(self) -> None:
        HttpSender(True, False).check("http://example.com/")
        HttpSender(True, False).check("http://example.com:80/")
        with pytest.raises(InvalidPayload):
            HttpSender(True, False).check("http://localhost:7071/")

    def test_any_port_and_address_when_allowed(self) -> None:
        LOCAL.check("http://localhost:22/")
        LOCAL.check("https://[::1]:81/")

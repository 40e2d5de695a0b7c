"""HttpSender over TLS: the certificate is for the name in the URL, and what is read has a limit."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from shared.ports import Sent
from shared.providers.excerpt import MAX_EXCERPT
from shared.providers.outbound import MAX_RESPONSE, HttpSender
from tests.receivers import Internet, Receiver, Script, named, receiving, scripted

AUTHORITY = trustme.CA()
NAME = "hooks.example.com"
ADDRESS = "93.184.216.34"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    return Internet(monkeypatch)


@contextmanager
def certified(leaf: trustme.LeafCert) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    with receiving(context) as server:
        yield server


def trust(*authorities: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for authority in authorities:
        authority.configure_trust(context)
    return context


def post(to: Receiver, internet: Internet, url: str, trusted: ssl.SSLContext | None = None) -> Sent:
    """As in production: no switch is on, and the name leads to a public address, where the receiver is."""
    internet.routes = {ADDRESS: to.port}
    sender = HttpSender(False, False, verify=trusted or trust(AUTHORITY), resolve=named(ADDRESS))
    return sender.post(url, b'{"a": 1}', {}, timeout=60)


class TestCertificates:
    @pytest.mark.parametrize("host", [NAME, "HOOKS.Example.COM", f"{NAME}.", f"{NAME}:443"])
    def test_right(self, internet: Internet, host: str) -> None:
        with certified(AUTHORITY.issue_cert(NAME)) as receiver:
            assert post(receiver, internet, f"https://{host}/in") == Sent(200, None, 17, "ok")
        ((path, headers, body),) = receiver.seen
        assert (path, headers["Host"], body) == ("/in", NAME, b'{"a": 1}')
        assert receiver.names == [NAME]
        assert internet.connected == [(ADDRESS, 443)]

    def test_port_in_the_host_header(self, internet: Internet) -> None:
        with certified(AUTHORITY.issue_cert(NAME)) as receiver:
            assert post(receiver, internet, f"https://{NAME}:8443/").ok
        assert receiver.seen[0][1]["Host"] == f"{NAME}:8443"
        assert receiver.names == [NAME]
        assert internet.connected == [(ADDRESS, 8443)]

    def test_right_for_an_address(self, internet: Internet) -> None:
        with certified(AUTHORITY.issue_cert(ADDRESS)) as receiver:
            assert post(receiver, internet, f"https://{ADDRESS}/").ok
        assert receiver.seen[0][1]["Host"] == ADDRESS
        assert receiver.names == [None]

    @pytest.mark.parametrize(
        "name", ["other.example.com", "example.com", ADDRESS, "*.com", "*.hooks.example.com"]
    )
    def test_of_another_name(self, internet: Internet, name: str) -> None:
        refused(AUTHORITY.issue_cert(name), internet)

    def test_of_a_name_when_the_url_has_an_address(self, internet: Internet) -> None:
        refused(AUTHORITY.issue_cert(NAME), internet, f"https://{ADDRESS}/")

    def test_expired(self, internet: Internet) -> None:
        expired = LONG_AGO + timedelta(days=90)
        refused(AUTHORITY.issue_cert(NAME, not_before=LONG_AGO, not_after=expired), internet)

    def test_not_valid_yet(self, internet: Internet) -> None:
        refused(AUTHORITY.issue_cert(NAME, not_before=datetime.now(UTC) + timedelta(days=2)), internet)

    def test_of_an_authority_that_nobody_knows(self, internet: Internet) -> None:
        refused(trustme.CA().issue_cert(NAME), internet)

    def test_of_an_authority_that_is_not_public(self, internet: Internet) -> None:
        """By the trust that production has."""
        with certified(AUTHORITY.issue_cert(NAME)) as receiver:
            internet.routes = {ADDRESS: receiver.port}
            sender = HttpSender(False, False, resolve=named(ADDRESS))
            assert sender.post(f"https://{NAME}/", b"", {}, timeout=60) == Sent(None, "tls_error")
        assert receiver.seen == []

    def test_self_signed(self, internet: Internet, tmp_path: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(tmp_path))
        with receiving(context) as receiver:
            assert post(receiver, internet, f"https://{NAME}/") == Sent(None, "tls_error")
        assert receiver.seen == []

    def test_another_address_is_not_tried_after_a_bad_certificate(self, internet: Internet) -> None:
        with certified(AUTHORITY.issue_cert("other.example.com")) as receiver:
            internet.routes = {ADDRESS: receiver.port, "8.8.8.8": receiver.port}
            sender = HttpSender(False, False, verify=trust(AUTHORITY), resolve=named(ADDRESS, "8.8.8.8"))
            assert sender.post(f"https://{NAME}/", b"", {}, timeout=60) == Sent(None, "tls_error")
        assert internet.connected == [(ADDRESS, 443)]


def refused(leaf: trustme.LeafCert, internet: Internet, url: str = f"https://{NAME}/") -> None:
    """No byte of the request reaches a receiver whose certificate is wrong."""
    with certified(leaf) as receiver:
        assert post(receiver, internet, url) == Sent(None, "tls_error")
    assert receiver.seen == []


def self_signed(folder: Path) -> Path:
    """A certificate for NAME that no authority signed, with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "self-signed.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


class TestHandshake:
    def test_receiver_speaks_plain_http(self, internet: Internet) -> None:
        with receiving() as receiver:
            assert post(receiver, internet, f"https://{NAME}/") == Sent(None, "tls_error")

    def test_receiver_hangs_up(self, internet: Internet) -> None:
        def script(connection: socket.socket, _: threading.Event) -> None:
            connection.recv(65536)

        assert shaken(internet, script, 60) == Sent(None, "tls_error")

    @pytest.mark.parametrize("pause", [None, 0.1])
    def test_receiver_takes_its_time(self, internet: Internet, pause: float | None) -> None:
        """A byte of a long record now and then, or none at all."""

        def script(connection: socket.socket, released: threading.Event) -> None:
            connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            while not released.wait(pause):
                connection.sendall(b"\x00")

        assert shaken(internet, script, 1) == Sent(None, "timeout")


def shaken(internet: Internet, script: Script, timeout: float) -> Sent:
    with scripted(script) as port:
        internet.routes = {ADDRESS: port}
        sender = HttpSender(False, False, verify=trust(AUTHORITY), resolve=named(ADDRESS))
        return sender.post(f"https://{NAME}/", b"{}", {}, timeout=timeout)


def test_session_tickets_without_end(internet: Internet, tmp_path: Path) -> None:
    """OpenSSL takes them in by itself as long as there are more: no time-out of the socket ends that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(NAME).configure_cert(context)
    context.num_tickets = 0
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(tmp_path / "keys")

    def script(connection: socket.socket, _: threading.Event) -> None:
        shake_hands(connection, context)
        seal, until = sealing(tmp_path / "keys"), time.monotonic() + 20
        while time.monotonic() < until:
            connection.sendall(seal(TICKETS + b"\x16"))  # 0x16: what is sealed is of the handshake protocol

    assert shaken(internet, script, 1) == Sent(None, "timeout")


TICKET = struct.pack("!BxH", 4, 16) + struct.pack("!II", 7200, 0) + b"\x01n" + b"\x00\x02id" + b"\x00\x00"
TICKETS = TICKET * 800


def shake_hands(connection: socket.socket, context: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            server.do_handshake()
            return
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))


def sealing(keys: Path) -> Callable[[bytes], bytes]:
    """Makes TLS 1.3 records of the server's, far faster than a client can read them (RFC 8446, 5.2, 7.3)."""
    found = [line for line in keys.read_text().splitlines() if line.startswith("SERVER_TRAFFIC_SECRET_0")]
    secret = bytes.fromhex(found[-1].split()[2])
    hash_, size = (hashes.SHA384(), 32) if len(secret) == 48 else (hashes.SHA256(), 16)

    def derived(label: bytes, length: int) -> bytes:
        info = struct.pack("!HB", length, len(label)) + label + b"\x00"
        return HKDFExpand(hash_, length, info).derive(secret)

    key, start = AESGCM(derived(b"tls13 key", size)), int.from_bytes(derived(b"tls13 iv", 12))
    number = count()

    def seal(content: bytes) -> bytes:
        header = struct.pack("!BHH", 23, 0x0303, len(content) + 16)
        return header + key.encrypt((start ^ next(number)).to_bytes(12), content, header)

    return seal


class Counted(ssl.SSLSocket):
    """Adds up what it is asked for and what it gives."""

    asked: list[int]
    given: list[int]

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        data = super().recv(buflen, flags)
        self.asked.append(buflen)
        self.given.append(len(data))
        return data


class TestLimit:
    @pytest.mark.parametrize("status", [200, 500])
    def test_ten_megabytes(self, internet: Internet, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
        monkeypatch.setattr(Counted, "asked", [], raising=False)
        monkeypatch.setattr(Counted, "given", [], raising=False)
        context = trust(AUTHORITY)
        context.sslsocket_class = Counted
        with certified(AUTHORITY.issue_cert(NAME)) as receiver:
            receiver.status, receiver.body = status, b"x" * 10_000_000
            sent = post(receiver, internet, f"https://{NAME}/", context)
        assert sent == Sent(status, None, 17, "x" * MAX_EXCERPT)
        assert sum(Counted.given) == MAX_RESPONSE
        left = MAX_RESPONSE
        for asked, given in zip(Counted.asked, Counted.given, strict=True):
            assert asked <= left
            left -= given

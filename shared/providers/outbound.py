"""Requests to URLs that clients supplied, kept away from everything that is not the public internet.

A name is resolved once, every address it has is judged, and the connection goes to an address that was
judged: whatever the name says a moment later does not matter. TLS and the Host header keep the name.
"""

# ruff: noqa: ARG002  (streams have httpcore's parameters, and one deadline instead of its timeouts)

from __future__ import annotations

import ipaddress
import logging
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import httpcore

from shared.deliveries import FailureKind
from shared.errors import InvalidPayload
from shared.ports import Sent
from shared.providers.addresses import Address, is_public
from shared.providers.excerpt import excerpt
from shared.providers.receiver_url import ReceiverUrl, receiver_url
from shared.providers.retry_after import retry_after

log = logging.getLogger(__name__)

MAX_RESPONSE: Final = 64 * 1024
MAX_CONNECTIONS: Final = 8
CHECK_SECONDS: Final = 2.0
"""How long somebody who submits a URL waits for its name; each attempt looks it up anew in any case."""


class HttpSender:
    """A Sender. Both switches are for the local stack: off, only https to the public internet is possible."""

    def __init__(
        self,
        allow_http: bool,
        allow_private: bool,
        *,
        verify: ssl.SSLContext | None = None,
        resolve: Callable[..., Any] = socket.getaddrinfo,
    ) -> None:
        """`verify`: trust other than the public authorities. `resolve`: as `socket.getaddrinfo`."""
        self._allow_http = allow_http
        self._allow_private = allow_private
        self._verify = verify
        self._resolve = resolve

    def check(self, url: str) -> None:
        """Refuses a name that leads to a private address as well; one that leads nowhere may do so later."""
        to = self._parsed(url)
        if self._allow_private:
            return
        with suppress(_Failed):
            deadline = _Deadline(time.monotonic() + CHECK_SECONDS)
            if not all(map(is_public, _resolved(self._resolve, to.host, to.port, deadline))):
                raise InvalidPayload("The host of the webhook URL is not on the public internet.")

    def post(self, url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> Sent:
        """Sends once. A status counts as soon as it is there, whatever then becomes of the body."""
        started = time.monotonic()
        try:
            to = self._parsed(url)
        except InvalidPayload:
            return Sent(None, "blocked_address")
        sent = self._send(to, body, headers, _Deadline(started + timeout))
        log.debug("posted to %s://%s: %s", to.scheme, to.host, sent.failure or sent.status_code)
        return replace(sent, seconds=time.monotonic() - started)

    def _send(self, to: ReceiverUrl, body: bytes, headers: dict[str, str], deadline: _Deadline) -> Sent:
        backend = _Pinned(self._resolve, self._allow_private, deadline)
        try:
            with (
                backend,
                httpcore.ConnectionPool(self._context(), network_backend=backend, retries=0) as pool,
                pool.stream("POST", _url(to), headers=_headers(to, headers), content=body) as response,
            ):
                wait = retry_after(_lower(response.headers))
                return Sent(response.status, None, wait, excerpt(_beginning(response)))
        except _Failed as failed:
            return Sent(None, failed.kind)
        except (httpcore.ProtocolError, ValueError):
            return Sent(None, "connection_error")

    def _context(self) -> ssl.SSLContext:
        if self._verify is None:
            self._verify = _public_trust()
        return self._verify

    def _parsed(self, url: str) -> ReceiverUrl:
        return receiver_url(url, allow_http=self._allow_http, allow_private=self._allow_private)


def _public_trust() -> ssl.SSLContext:
    """The system's authorities and certifi's: a slim container may have none."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _url(to: ReceiverUrl) -> httpcore.URL:
    return httpcore.URL(
        scheme=to.scheme.encode(), host=to.host.encode(), port=to.port, target=to.target.encode()
    )


def _headers(to: ReceiverUrl, headers: dict[str, str]) -> list[tuple[bytes | str, bytes | str]]:
    return [*headers.items(), ("Host", to.authority), ("Connection", "close")]


def _lower(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _beginning(response: httpcore.Response) -> bytes:
    """The body, as far as it may be read; what goes wrong here changes nothing."""
    body = bytearray()
    with suppress(_Failed, httpcore.ProtocolError):
        for part in response.iter_stream():
            body += part
    return bytes(body)


class _Failed(Exception):
    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind = kind


class _Deadline:
    def __init__(self, end: float) -> None:
        """`end`: by the monotonic clock."""
        self._end = end

    @property
    def remaining(self) -> float:
        """Seconds, 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def left(self) -> float:
        """Seconds, more than 0. Raises _Failed when there are none."""
        left = self.remaining
        if not left:
            raise _Failed("timeout")
        return left

    def blames(self, failure: FailureKind) -> FailureKind:
        """Why an operation failed: by itself, or because the watchdog cut the connection."""
        return failure if self.remaining else "timeout"


class _Watchdog:
    """Cuts a connection at the deadline, whoever is using it.

    A time-out of the socket is not enough under TLS: while there is something to read, OpenSSL deals with
    session tickets and other records without data by itself. Whoever sends enough of them is read for ever.
    """

    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self._connection = connection.dup()  # one that TLS does not take over
        self._timer = threading.Timer(deadline.remaining, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        with suppress(OSError):
            # With no lingering whoever still sends is refused at once, and the kernel keeps nothing of it.
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._connection.shutdown(socket.SHUT_RDWR)

    def dismiss(self) -> None:
        self._timer.cancel()
        self._connection.close()


class _Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were judged, within one deadline for everything. Until it is left."""

    def __init__(self, resolve: Callable[..., Any], allow_private: bool, deadline: _Deadline) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._deadline = deadline
        self._watchdog: _Watchdog | None = None

    def __enter__(self) -> _Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watchdog is not None:
            self._watchdog.dismiss()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _resolved(self._resolve, host, port, self._deadline)
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise _Failed("blocked_address")
        return self._first(addresses[:MAX_CONNECTIONS], port)

    def _first(self, addresses: list[Address], port: int) -> httpcore.NetworkStream:
        """The first address that answers; of several, none may use up the time of the others."""
        failure: FailureKind = "connection_error"
        for rest, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                connection = socket.create_connection((str(address), port), self._deadline.left() / rest)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._watchdog = _Watchdog(connection, self._deadline)
                return _Stream(connection, self._deadline)
            except TimeoutError:
                failure = "timeout"
            except ConnectionRefusedError:
                failure = "connection_refused"
            except OSError:
                continue  # no way there: what another address said tells more
        raise _Failed(failure)


class _Stream(httpcore.NetworkStream):
    """A connection that reads MAX_RESPONSE bytes at most, headers included.

    Every operation has only what is left of the deadline: a timeout of its own would begin anew with every
    byte that arrives.
    """

    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._unread = MAX_RESPONSE

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._unread:
            raise _Failed("connection_error")
        try:
            self._connection.settimeout(self._deadline.left())
            data = self._connection.recv(min(max_bytes, self._unread))
        except TimeoutError:
            raise _Failed("timeout") from None
        except OSError:
            raise _Failed(self._deadline.blames("connection_error")) from None
        if not data:
            self._deadline.left()  # not the end of the answer, if it was the watchdog
        self._unread -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Raises httpcore.WriteError, after which it still looks for an answer: some come early."""
        rest = memoryview(buffer)
        try:
            while rest:
                self._connection.settimeout(self._deadline.left())
                rest = rest[self._connection.send(rest) :]
        except TimeoutError:
            raise _Failed("timeout") from None
        except OSError as error:
            raise httpcore.WriteError from error

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            self._connection.settimeout(self._deadline.left())
            secured = ssl_context.wrap_socket(self._connection, server_hostname=server_hostname)
            return _Stream(secured, self._deadline)
        except (TimeoutError, _Failed):
            failure: FailureKind = "timeout"
        except (OSError, ValueError):
            failure = self._deadline.blames("tls_error")
        self.close()
        raise _Failed(failure)

    def get_extra_info(self, info: str) -> Any:
        """Asked by httpcore for the protocol that TLS agreed on."""
        if info == "ssl_object" and isinstance(self._connection, ssl.SSLSocket):
            return self._connection
        return None


def _resolved(resolve: Callable[..., Any], host: str, port: int, deadline: _Deadline) -> list[Address]:
    """All addresses of a name. In a thread, because `getaddrinfo` knows no timeout."""
    answer: queue.SimpleQueue[list[Address]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(_addresses(resolve(host, port, type=socket.SOCK_STREAM)))
        except Exception:
            answer.put([])  # whatever it was: nobody shall wait for this thread in vain

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    try:
        addresses = answer.get(timeout=deadline.left())
    except queue.Empty:
        raise _Failed("timeout") from None
    if not addresses:
        raise _Failed("dns_error")
    return addresses


def _addresses(found: Iterable[Any]) -> list[Address]:
    """Raises for an answer that is not all addresses: a Python without IPv6 gives numbers and bytes."""
    texts = [entry[4][0] for entry in found]
    if not all(isinstance(text, str) for text in texts):  # `ip_address` would read the others, too
        raise ValueError("not an address")
    return list(dict.fromkeys(map(ipaddress.ip_address, texts)))

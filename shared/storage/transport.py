"""How the storage SDKs send: small requests by a socket of our own, everything else by `requests` as always.

For each request `requests` and urllib3 merge headers, cookies, proxies and the environment anew, and Python's
parser of mails reads what comes back: that takes several times as long as to send and receive. What the SDK
has quoted, encoded and signed needs none of it. Retries and errors stay the SDK's.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal
from urllib.parse import urlsplit

from azure.core.pipeline.transport import RequestsTransport
from requests import ConnectionError, ConnectTimeout, ReadTimeout, Response, Session
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ProtocolError
from urllib3.util import wait_for_read

IDLE: Final = 32
"""Connections that are kept open to a host."""
_PLAIN = re.compile(
    r"(https?://[^/?#@\s]+)(/[-A-Za-z0-9._~!$&'()*+,;=:@%/]*(?:\?[-A-Za-z0-9._~!$&'()*+,;=:@%/?]*)?)"
)
"""A URL in which nothing is left to be quoted: its host, and the rest."""
_LONGEST_LINE: Final = 65536
_BODILESS: Final = {204, 304}


def transport() -> RequestsTransport:
    """For one service, all of whose clients share it. Whoever closes the service closes it."""
    return RequestsTransport(session=_Session())


class _Session(Session):
    """What the SDK's transport takes for a session of `requests`."""

    def __init__(self) -> None:
        super().__init__()
        self._hosts: dict[tuple[str, Any, Any], _Host | None] = {}

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: Any = None,
        stream: bool = False,
        timeout: tuple[float, float],
        proxies: Any = None,
        verify: Any = True,
        cert: Any = None,
        **others: Any,
    ) -> Response:
        plain = _PLAIN.fullmatch(url)
        download = stream and method == "GET"
        if (
            plain
            and isinstance(data, bytes | str | None)
            and not (download or proxies or others.get("files"))
        ):
            host = self._host(plain[1], verify, cert)
            if host is not None:
                return host.request(method, plain[2], headers, data, timeout)
        given = {"headers": headers, "data": data, "timeout": timeout, "verify": verify, "cert": cert}
        return super().request(method, url, stream=stream, proxies=proxies, **given, **others)

    def _host(self, base: str, verify: Any, cert: Any) -> _Host | None:
        """None for one that is reached by a proxy, shown a certificate, or not checked."""
        place = base, verify, cert
        if place not in self._hosts:
            found = self.merge_environment_settings(base, {}, None, verify, cert)
            proxied = {"all", urlsplit(base).scheme} & set(found["proxies"])
            long_way = proxied or found["cert"] or not found["verify"]
            self._hosts.setdefault(place, None if long_way else _Host(base, found["verify"]))
        return self._hosts[place]

    def close(self) -> None:
        super().close()
        for host in self._hosts.values():
            if host is not None:
                host.close()


class _Host:
    """Connections to one host. Any thread may send."""

    def __init__(self, base: str, trusted: str | Literal[True]) -> None:
        """`trusted`: file or folder of certificates; True: those that `requests` brings."""
        parts = urlsplit(base)
        self._netloc, self._name = parts.netloc, parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context = _context(trusted) if parts.scheme == "https" else None
        self._idle: deque[_Connection] = deque()
        self._closed = False

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        data: bytes | str | None,
        timeout: tuple[float, float],
    ) -> Response:
        body = data.encode() if isinstance(data, str) else data or b""
        head = _head(method, target, self._netloc, headers, len(body))
        connect, read = timeout
        connection = self._connection(connect)
        try:
            with _told_as_requests_does():
                answer = connection.exchange(head + body, method, read)
        except BaseException:
            connection.close()
            raise
        if answer.last or self._closed or len(self._idle) >= IDLE:
            connection.close()
        else:
            self._idle.append(connection)
        return answer.response()

    def _connection(self, timeout: float) -> _Connection:
        """The one that was used last, unless its other end has closed it."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._opened(timeout)
            if connection.usable():
                return connection
            connection.close()

    def _opened(self, timeout: float) -> _Connection:
        try:
            opened = socket.create_connection((self._name, self._port), timeout)
        except TimeoutError as error:
            raise ConnectTimeout(error) from error
        except OSError as error:
            raise ConnectionError(error) from error
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                opened = self._context.wrap_socket(opened, server_hostname=self._name)
        except BaseException as error:
            opened.close()
            if isinstance(error, OSError):
                raise ConnectionError(error) from error
            raise
        return _Connection(opened)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


@contextmanager
def _told_as_requests_does() -> Iterator[None]:
    """Errors as `requests` raises them: the SDK knows whether to try again by those."""
    try:
        yield
    except TimeoutError as error:
        raise ReadTimeout(error) from error
    except (OSError, ValueError) as error:
        raise ConnectionError(ProtocolError("The connection was broken.", error)) from error


def _head(method: str, target: str, netloc: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {netloc}", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length or method not in {"GET", "HEAD"}:
        lines += [] if "Content-Length" in headers else [f"Content-Length: {length}"]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("A header has more than one line.")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Connection:
    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._stream = opened.makefile("rb")

    def exchange(self, request: bytes, method: str, timeout: float) -> _Answer:
        self._socket.settimeout(timeout)
        self._socket.sendall(request)
        return _read(self._stream, method)

    def usable(self) -> bool:
        """Whether nothing has come since the last answer: there is nothing to come but the end."""
        return not wait_for_read(self._socket, timeout=0)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


@dataclass(frozen=True)
class _Answer:
    """`last`: the connection is of no further use."""

    status: int
    reason: str
    headers: CaseInsensitiveDict[str]
    body: bytes
    last: bool

    def response(self) -> Response:
        response = Response()
        response.status_code, response.reason, response.headers = self.status, self.reason, self.headers
        response.raw = _Body(self.body)
        return response


class _Body(io.BytesIO):
    """With room for the attribute that the SDK sets."""


def _read(stream: BinaryIO, method: str) -> _Answer:
    """RFC 9112. Raises ValueError for what is none."""
    status = 100
    while status < 200:
        version, code, *reason = _line(stream).split(" ", 2)
        status, headers = int(code), _headers(stream)
        if not version.startswith("HTTP/1."):
            raise ValueError("That is no HTTP.")
    ends = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
    if method == "HEAD" or status in _BODILESS:
        body = b""
    elif "chunked" in headers.get("transfer-encoding", "").lower():
        body = b"".join(_chunks(stream))
    elif "content-length" in headers:
        body = _exactly(stream, int(headers["content-length"]))
    else:
        body, ends = stream.read(), True
    return _Answer(status, "".join(reason), headers, body, ends)


def _headers(stream: BinaryIO) -> CaseInsensitiveDict[str]:
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    while line := _line(stream):
        name, colon, value = line.partition(":")
        if not colon or len(headers) > 200:
            raise ValueError("That is no header.")
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _line(stream: BinaryIO) -> str:
    line = stream.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise ValueError("The connection ended, or a line does not.")
    return line.rstrip(b"\r\n").decode("latin-1")


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while size := int(_line(stream).partition(";")[0], 16):
        yield _exactly(stream, size)
        _line(stream)
    while _line(stream):
        pass


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ValueError("The connection ended before its answer did.")
    return data


def _context(trusted: str | Literal[True]) -> ssl.SSLContext:
    import certifi

    place = certifi.where() if trusted is True else trusted
    if Path(place).is_dir():
        return ssl.create_default_context(capath=place)
    return ssl.create_default_context(cafile=place)

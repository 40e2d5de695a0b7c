"""Storage by identity without Azure: who gives tokens, and a storage account that wants them.

The account is Azurite over HTTPS, which reads our tokens. Before each of its services stands a gate that
checks what Azurite does not (signature, version, date), and can be told to refuse like Azure does.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import trustme

from local import ports
from local.azurite import ACCOUNT, Azurite, Certificate

AUDIENCE = "https://storage.azure.com"
TENANT = "11111111-2222-3333-4444-555555555555"
OBJECT_ID = "66666666-7777-8888-9999-000000000000"
HEADER = "only-this-app-knows"
SERVICES = ("blob", "queue", "table")
_SIGNING_KEY = "what Microsoft Entra ID signs with, here"
_SKEW_SECONDS = 15 * 60


def token(audience: str = AUDIENCE, **changed: Any) -> str:
    """An access token as Microsoft Entra ID gives it to an app, but for its signature."""
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
        "oid": OBJECT_ID,
        "tid": TENANT,
        **changed,
    }
    return jwt.encode(claims, _SIGNING_KEY, algorithm="HS256")


class TokenServer(ThreadingHTTPServer):
    """App Service's own endpoint for managed identities. `asked`: the query of each request; `known`: the
    identities that are assigned, None standing for the system-assigned one; `claims` and `lifetime` (seconds)
    of its tokens."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        self.asked: list[dict[str, str]] = []
        self.known: set[str | None] = {None}
        self.claims: dict[str, Any] = {}
        self.lifetime = 3600

    @property
    def environment(self) -> dict[str, str]:
        return {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.server_port}/msi/token",
            "IDENTITY_HEADER": HEADER,
        }


class _TokenHandler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(query)
        if self.headers.get("X-IDENTITY-HEADER") != HEADER or query.get("api-version") != "2019-08-01":
            self._answer(401, {"statusCode": 401, "message": "The header is wrong."})
        elif (query.get("client_id") or query.get("mi_res_id")) not in self.server.known:
            self._answer(400, {"statusCode": 400, "message": "No User Assigned Managed Identity found."})
        else:
            given = token(query["resource"], **self.server.claims)
            expires = str(int(time.time()) + self.server.lifetime)
            answer = {"access_token": given, "expires_on": expires, "token_type": "Bearer"}
            self._answer(200, {**answer, "resource": query["resource"]})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class Gate(ThreadingHTTPServer):
    """HTTPS before one service of the account.

    `refusal`: status and code that it answers with; None: the service answers. `seen`: methods and paths of
    what came with a right token. `faults`: what was wrong with the others.
    """

    daemon_threads = True

    def __init__(self, service: str, port: int, authority: trustme.CA) -> None:
        super().__init__(("127.0.0.1", 0), _GateHandler)
        self.service = service
        self.refusal: tuple[int, str] | None = None
        self.seen: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self.behind = port
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(own)
        self.socket = own.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}/{ACCOUNT}"

    def reset(self) -> None:
        self.refusal = None
        self.seen.clear()
        self.faults.clear()


class _GateHandler(BaseHTTPRequestHandler):
    server: Gate
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault := self._fault():
            self.server.faults.append(fault)
            self._refuse(403, "AuthenticationFailed")
        elif self.server.refusal:
            self._refuse(*self.server.refusal)
        else:
            self._pass_on(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_MERGE = do_PATCH = _serve

    def _fault(self) -> str | None:
        """What is wrong with a request that comes with a token."""
        scheme, _, given = (self.headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer":
            return None if "sig=" in self.path or scheme == "SharedKey" else f"{scheme or 'no'} authorization"
        try:
            jwt.decode(given, _SIGNING_KEY, algorithms=["HS256"], audience=AUDIENCE)
        except jwt.InvalidTokenError as error:
            return str(error)
        if not self.headers.get("x-ms-version"):
            return "no x-ms-version"
        date = self.headers.get("x-ms-date")
        if not date or abs(parsedate_to_datetime(date).timestamp() - time.time()) > _SKEW_SECONDS:
            return "no x-ms-date of now"
        self.server.seen.append((self.command, urlsplit(self.path).path))
        return None

    def _pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.server.behind, timeout=30, context=self.server.trust
        )
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            self._answer(answer.status, list(answer.headers.items()), answer.read())
        finally:
            connection.close()

    def _refuse(self, status: int, code: str) -> None:
        """In the form of the service: OData for tables, XML for the others."""
        if self.server.service == "table":
            message = {"lang": "en-US", "value": "No."}
            body = json.dumps({"odata.error": {"code": code, "message": message}}).encode()
            kind = "application/json;odata=minimalmetadata"
        else:
            text = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
            body, kind = f"<?xml version='1.0' encoding='utf-8'?>{text}".encode(), "application/xml"
        self._answer(status, [("x-ms-error-code", code), ("Content-Type", kind)], body)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in {"content-length", "transfer-encoding", "connection", "keep-alive"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class Authority(ThreadingHTTPServer):
    """Microsoft Entra ID of any cloud, reached as a proxy (HTTPS_PROXY), so that no request leaves us.

    `asked`: host and form of each request for a token. `refusal`: the AADSTS code that it answers with.
    """

    daemon_threads = True

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__(("127.0.0.1", 0), _AuthorityHandler)
        self.certificates = authority
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.refusal: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For a service principal."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.server_port}",
            "AZURE_CLIENT_ID": "a-service",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_SECRET": "hunter2",
        }


class _AuthorityHandler(BaseHTTPRequestHandler):
    server: Authority
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """From here on we are the host that was asked for."""
        self.host = self.path.split(":")[0]
        self.send_response_only(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.certificates.issue_cert(self.host).configure_cert(context)
        self.plain, self.connection = self.connection, context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        """The addresses of this cloud."""
        base = f"https://{self.host}/{TENANT}"
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "issuer": "v2.0"}
        cloud = {"preferred_network": self.host, "preferred_cache": self.host, "aliases": [self.host]}
        self._answer(200, {"metadata": [cloud], **{name: f"{base}/{path}" for name, path in names.items()}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.server.asked.append((self.host, form))
        if self.server.refusal:
            text = f"{self.server.refusal}: Invalid client secret provided."
            self._answer(401, {"error": "invalid_client", "error_description": text})
            return
        given = token(form["scope"].removesuffix("/.default"))
        self._answer(200, {"access_token": given, "expires_in": 3600, "token_type": "Bearer"})

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@dataclass
class Account:
    """A storage account that takes an identity. `connection_string` goes to it by key.

    `settings` lead there, `environment` is what else the process needs: who gives tokens, and whose
    certificates to trust.
    """

    tokens: TokenServer
    authority: Authority
    gates: dict[str, Gate]
    certificates: Path
    connection_string: str
    settings: dict[str, str] = field(init=False)
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.settings = {
            **{f"AzureWebJobsStorage__{name}ServiceUri": gate.url for name, gate in self.gates.items()},
            "AzureWebJobsStorage__credential": "managedidentity",
        }
        self.environment = {**self.tokens.environment, "REQUESTS_CA_BUNDLE": str(self.certificates)}

    def reset(self) -> None:
        for gate in self.gates.values():
            gate.reset()
        self.authority.asked.clear()
        self.authority.refusal = None
        self.tokens.asked.clear()
        self.tokens.known = {None}
        self.tokens.claims = {}
        self.tokens.lifetime = 3600

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients that do not read REQUESTS_CA_BUNDLE."""
        return ssl.create_default_context(cafile=str(self.certificates))

    @property
    def faults(self) -> list[str]:
        return [fault for gate in self.gates.values() for fault in gate.faults]


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """Everything started, below an empty folder."""
    certificates = trustme.CA()
    certificates.cert_pem.write_to_path(str(folder / "authority.pem"))
    chosen = ports.choose(ports.ANY)
    behind = tuple(chosen[f"DOCMILL_{name.upper()}_PORT"] for name in SERVICES)
    certificate = _certificate(certificates, folder)
    azurite = Azurite(
        folder / "azurite", folder / "azurite.log", (behind[0], behind[1], behind[2]), certificate
    )
    tokens, authority = TokenServer(), Authority(certificates)
    gates = {name: Gate(name, port, certificates) for name, port in zip(SERVICES, behind, strict=True)}
    azurite.start()
    try:
        with _serving(tokens, authority, *gates.values()):
            yield Account(tokens, authority, gates, folder / "authority.pem", azurite.connection_string)
    finally:
        azurite.stop()


def _certificate(certificates: trustme.CA, folder: Path) -> Certificate:
    made = certificates.issue_cert("127.0.0.1")
    found = Certificate(folder / "azurite.pem", folder / "azurite-key.pem")
    found.chain.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(found.key))
    return found


@contextmanager
def _serving(*servers: ThreadingHTTPServer) -> Iterator[None]:
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()

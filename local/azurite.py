"""Azurite: blobs, queues and tables of Azure Storage on this machine."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.node import script
from local.process import Child, base_environment

# Azurite's published development account. It protects nothing, which is why we listen on 127.0.0.1 only.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_SECONDS = 60


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate for 127.0.0.1 and of its key."""

    chain: Path
    key: Path


class Azurite:
    """The three services of one storage account."""

    def __init__(
        self, data: Path, log: Path, ports: tuple[int, int, int], certificate: Certificate | None = None
    ) -> None:
        """`ports` of blob, queue and table. With a certificate it speaks HTTPS, and takes tokens too: it
        reads their issuer, audience and times, and does not check their signature."""
        self._certificate = certificate
        self._data = data
        self._log = log
        self._ports = ports
        self._child: Child | None = None

    @property
    def connection_string(self) -> str:
        scheme = "https" if self._certificate else "http"
        blob, queue, table = self._ports
        endpoints = ";".join(
            f"{kind}Endpoint={scheme}://127.0.0.1:{port}/{ACCOUNT}"
            for kind, port in (("Blob", blob), ("Queue", queue), ("Table", table))
        )
        return f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};{endpoints};"

    def start(self, keep_open: Sequence[int] = ()) -> None:
        """Returns when all three answer. Raises StackError."""
        self._data.mkdir(parents=True, exist_ok=True)
        self._child = Child.start(
            "Azurite",
            [*script("azurite"), *self._options()],
            log=self._log,
            cwd=self._data,
            env=base_environment(),
            keep_open=keep_open,
        )
        self._child.wait_until(self._answers, START_SECONDS)

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    @property
    def child(self) -> Child | None:
        return self._child

    def _options(self) -> list[str]:
        blob, queue, table = map(str, self._ports)
        # Newer SDKs name API versions that Azurite does not know yet, and telemetry would call out.
        switches = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(self._data)]
        if self._certificate:
            chain, key = str(self._certificate.chain), str(self._certificate.key)
            switches += ["--oauth", "basic", "--cert", chain, "--key", key]
        return [*switches, "--blobPort", blob, "--queuePort", queue, "--tablePort", table]

    def _answers(self) -> bool:
        return all(_server(self._connection(port)).startswith("Azurite") for port in self._ports)

    def _connection(self, port: int) -> http.client.HTTPConnection:
        if self._certificate is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        trust = ssl.create_default_context(cafile=str(self._certificate.chain))
        trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this very certificate, whoever made it
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trust)


def _server(connection: http.client.HTTPConnection) -> str:
    """The server's name as it says itself, empty while nobody answers."""
    try:
        connection.request("GET", "/")
        return connection.getresponse().headers.get("Server", "")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()

"""Where Application Insights would take telemetry: the items that came in, as they are on the wire."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class IngestionEndpoint(ThreadingHTTPServer):
    """Listens while it is entered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.items: list[dict[str, Any]] = []

    def __enter__(self) -> IngestionEndpoint:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def connection_string(self) -> str:
        key = "00000000-0000-0000-0000-000000000001"
        return f"InstrumentationKey={key};IngestionEndpoint=http://127.0.0.1:{self.server_address[1]}/"

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """RequestData, RemoteDependencyData, MetricData: their `baseData`, with the ids of the operation."""
        return [
            {**item["data"]["baseData"], **item["tags"]}
            for item in list(self.items)
            if item["data"]["baseType"] == kind
        ]


class _Handler(BaseHTTPRequestHandler):
    server: IngestionEndpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        items = json.loads(body)
        self.server.items += items
        answer = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
        told = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        return

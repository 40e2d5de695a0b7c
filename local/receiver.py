"""A webhook receiver on this machine, as a client of Docmill would write one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

MAX_BODY = 1024 * 1024


@dataclass(frozen=True)
class Arrival:
    """A webhook that came in. `seen`: the task's status as the API told it at that moment."""

    client: str
    webhook_id: str
    type: str
    task_id: str
    verified: bool
    seen: str

    @property
    def good(self) -> bool:
        return self.verified and self.type == f"task.{self.seen}"


class Receiver:
    """Listens while it is entered. `secrets` by client; `status_of(client, task_id)` asks the API."""

    def __init__(self, secrets: Mapping[str, str], status_of: Callable[[str, str], str]) -> None:
        self._secrets = secrets
        self._status_of = status_of
        self._arrivals: list[Arrival] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, client: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{client}"

    def receive(self, client: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Notes a delivery and says whether it was genuine."""
        verified = self._verify(client, headers, body)
        event = _event(body)
        task_id = str(event.get("data", {}).get("task_id", ""))
        arrival = Arrival(
            client=client,
            webhook_id=headers.get("webhook-id", ""),
            type=str(event.get("type", "")),
            task_id=task_id,
            verified=verified,
            seen=self._status_of(client, task_id) if verified else "",
        )
        with self._changed:
            self._arrivals.append(arrival)
            self._changed.notify_all()
        return verified

    def wait_for(self, task_ids: set[str], seconds: float) -> list[Arrival]:
        """What has arrived once there is something for each of these tasks, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: task_ids <= {a.task_id for a in self._arrivals}, seconds)
            return list(self._arrivals)

    def _verify(self, client: str, headers: Mapping[str, str], body: bytes) -> bool:
        from standardwebhooks import Webhook, WebhookVerificationError

        try:
            Webhook(self._secrets[client]).verify(body, dict(headers))
        except (WebhookVerificationError, KeyError, ValueError):
            return False
        return True


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY))
            headers = {name.lower(): value for name, value in self.headers.items()}
            genuine = receiver.receive(self.path.strip("/"), headers, body)
            self.send_response(204 if genuine else 401)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silence: the demo's own output is the log."""

    return Handler

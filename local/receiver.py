"""The demo's webhook receiver: it also asks the API what it says when a webhook arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from cli.inbox import Inbox, Post, data_of, doubt


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
        self._inbox = Inbox(0, self._take)

    def __enter__(self) -> Receiver:
        self._inbox.__enter__()
        self._inbox.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inbox.__exit__(kind, error, trace)

    def url(self, client: str) -> str:
        return f"{self._inbox.url}{client}"

    def wait_for(self, task_ids: set[str], seconds: float) -> list[Arrival]:
        """What has arrived once there is something for each of these tasks, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: task_ids <= {a.task_id for a in self._arrivals}, seconds)
            return list(self._arrivals)

    def _take(self, post: Post) -> int:
        """Notes a delivery, genuine or not."""
        client = post.path.strip("/")
        secrets = [self._secrets[client]] if client in self._secrets else []
        verified = doubt(secrets, post) is None
        event = post.event() or {}
        task_id = str(data_of(event).get("task_id", ""))
        arrival = Arrival(
            client=client,
            webhook_id=post.webhook_id,
            type=str(event.get("type", "")),
            task_id=task_id,
            verified=verified,
            seen=self._status_of(client, task_id) if verified else "",
        )
        with self._changed:
            self._arrivals.append(arrival)
            self._changed.notify_all()
        return 204 if verified else 401

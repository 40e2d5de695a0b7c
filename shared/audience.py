"""What the webhooks of each client want to hear, as far as this process has seen lately.

It says when somebody looks who wants an event, never whether: an event that nobody seems to want stays in its
task's row until the webhooks themselves were read. So a webhook that was made a moment ago misses nothing,
and most tasks are spared two looks out of three.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from shared.subscriptions import Subscription, matches

KEPT_SECONDS: Final = 10.0
"""A webhook that another process has made may hear so much later, for once, than it could have."""


@dataclass(frozen=True)
class _Seen:
    patterns: frozenset[str]
    until: float


class Audience:
    """Of one process; safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def saw(self, client_id: str, subscriptions: Iterable[Subscription]) -> None:
        """These were all webhooks of the client just now."""
        patterns = frozenset(pattern for webhook in subscriptions for pattern in webhook.event_types)
        with self._lock:
            self._seen[client_id] = _Seen(patterns, self._clock() + KEPT_SECONDS)

    def forget(self, client_id: str) -> None:
        """They have changed."""
        with self._lock:
            self._seen.pop(client_id, None)

    def wants(self, client_id: str, event_type: str) -> bool | None:
        """Whether a webhook wants such events. None: it is not known, or was not wanted too long ago."""
        with self._lock:
            seen = self._seen.get(client_id)
        if seen is None:
            return None
        if any(matches(pattern, event_type) for pattern in seen.patterns):
            return True
        return False if self._clock() < seen.until else None

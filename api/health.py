"""Health: alive, ready, and how long the queues are."""

from __future__ import annotations

import threading
import time
from typing import Any

from fastapi import APIRouter, Response

from api import VERSION
from api.access import Client, CoreOf
from api.shapes import HealthShape, QueuesShape, ReadyShape
from shared.core import Core
from shared.names import tasks_queue
from shared.tasks import utc_now

router = APIRouter(tags=["health"])
KEPT_SECONDS = 10.0


@router.get("/health", response_model=HealthShape)
async def health() -> dict[str, str]:
    """Touches nothing, and needs no thread: it answers however busy the process is."""
    return {"status": "ok", "version": VERSION}


@router.get("/health/ready", response_model=ReadyShape, responses={503: {"model": ReadyShape}})
def ready(core: CoreOf, response: Response) -> dict[str, Any]:
    """Whether every dependency answers. Kept for 10 s, makes no paid call."""
    checks = _latest.of(core)
    good = all(problem is None for problem in checks.values())
    if not good:
        response.status_code = 503
    return {
        "status": "ok" if good else "unavailable",
        "checks": {name: problem or "ok" for name, problem in checks.items()},
    }


class _Latest:
    """The last answer, so that no prober can load what it probes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[float, Core, dict[str, str | None]] | None = None

    def of(self, core: Core) -> dict[str, str | None]:
        before = self._kept
        known = before[2] if before is not None and before[1] is core else None
        if not self._lock.acquire(blocking=known is None) and known is not None:
            return known  # somebody is asking anew, and no further thread waits for that
        try:
            kept = self._kept
            if kept is None or kept[1] is not core or kept[0] < time.monotonic():
                kept = (time.monotonic() + KEPT_SECONDS, core, core.checks())
                self._kept = kept
            return kept[2]
        finally:
            self._lock.release()


_latest = _Latest()


@router.get("/health/queues", response_model=QueuesShape)
def queues(core: CoreOf, client: Client) -> dict[str, Any]:
    """The caller's own queue. `oldest_seconds` is null when nothing is waiting."""
    name = tasks_queue(client)
    oldest = core.queues.oldest(name)
    return {
        "queues": [
            {
                "client_id": client,
                "name": name,
                "depth": core.queues.depth(name),
                "dead_letters": core.dead_letters.count_open(client),
                "oldest_seconds": max(0, int((utc_now() - oldest).total_seconds())) if oldest else None,
            }
        ]
    }

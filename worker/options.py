"""What the command line says, and what has to be known before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FIGURES = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder of the metrics of all processes of one worker."""
PARTS = ("queues", "timers", "http")


@dataclass(frozen=True)
class Options:
    """`clients`: of the queues `{client}-tasks` only theirs; None: all. `drain_seconds`, `monitor_port`: None
    leaves them to the settings. `threads`: for functions; None: as many as Python's own pool takes.

    `http_asked`: somebody wants this very process to serve HTTP, so a port that is taken ends it.
    """

    app_root: Path
    parts: tuple[str, ...]
    clients: tuple[str, ...] | None
    address: str
    port: int
    http_asked: bool
    drain_seconds: float | None
    threads: int | None
    monitor_port: int | None

"""How many processors this process may use. More threads than that make OCR many times slower."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path(
    "/sys/fs/cgroup/cpu.max"
)  # of a container: "<microseconds> <of a period of so many>", or "max ..."


def processors(quota: Path = _QUOTA) -> int:
    """At least 1. A container may have a share of all processors instead of a few of its own."""
    bound = getattr(os, "sched_getaffinity", None)
    count = len(bound(0)) if bound else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(count, int(share) // int(period)))
    except (OSError, ValueError):
        return count

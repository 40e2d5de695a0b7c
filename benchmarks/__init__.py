"""How well and how fast Docmill does its work. `python -m benchmarks`, or `ONLY=pdf python -m benchmarks`.

A benchmark is a module with `run() -> Report`, and one line in `BENCHMARKS`. It is imported when it is run.
"""

from __future__ import annotations

BENCHMARKS = {
    "queue": "benchmarks.queue",
    "ingestion": "benchmarks.ingestion",
    "start": "benchmarks.start",
    "memory": "benchmarks.memory",
    "search": "benchmarks.search",
    "waiting": "benchmarks.waiting",
    "package": "benchmarks.package",
    "growth": "benchmarks.growth",
    "pdf": "benchmarks.pdf",
}

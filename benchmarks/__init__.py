"""How well and how fast Docmill does its work. `python -m benchmarks`, or `ONLY=pdf python -m benchmarks`.

A benchmark is a module with `run() -> Report`, and one line in `BENCHMARKS`.
"""

from __future__ import annotations

BENCHMARKS = {
    "pdf": "benchmarks.pdf",
}

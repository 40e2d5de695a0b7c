"""The functions process of crashing_worker.py."""

from __future__ import annotations

from tests.e2e import crashing_worker

if __name__ == "__main__":
    crashing_worker.functions()

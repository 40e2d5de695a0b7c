"""`python -m tests.hosts.one_shot_worker`: `python -m worker` with the task type of tests/scripted.py."""

from __future__ import annotations

import sys

import handlers
from worker.__main__ import main

if __name__ == "__main__":
    handlers.HANDLERS["scripted"] = "tests.scripted"
    sys.exit(main())

"""`python worker/async_worker.py` and `python -m worker.async_worker`: the same as `python -m worker`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:
        # Python puts the folder of a script first, where our http.py would hide the standard library's.
        sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from worker.__main__ import main

    sys.exit(main())

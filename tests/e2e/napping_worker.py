"""`python -m tests.e2e.napping_worker ...`: `python -m worker ...` that knows one task type more."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from tests.e2e import napping_functions
    from worker import process
    from worker.__main__ import main

    process.MODULE = napping_functions.__name__
    sys.exit(main())

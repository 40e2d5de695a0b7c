"""`python -m tests.e2e.naming_worker ...`: `python -m worker ...` on a machine where names have the addresses
that NAMES gives them (`name=address`, separated by spaces), as if they stood in /etc/hosts.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from tests.e2e import naming_functions
    from worker import process
    from worker.__main__ import main

    process.MODULE = naming_functions.__name__
    sys.exit(main())

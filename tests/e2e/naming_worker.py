"""`python -m tests.e2e.naming_worker ...`: `python -m worker ...` on a machine where names have the addresses
that NAMES gives them (`name=address`, separated by spaces), as if they stood in /etc/hosts.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import defaultdict
from typing import Any

if __name__ == "__main__":
    names: defaultdict[str, list[str]] = defaultdict(list)
    for pair in os.environ["NAMES"].split():
        name, _, address = pair.partition("=")
        names[name].append(address)
    ask = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **more: Any) -> list[Any]:
        return [entry for address in names.get(host, [host]) for entry in ask(address, *args, **more)]

    socket.getaddrinfo = resolve
    from worker.__main__ import main

    sys.exit(main())

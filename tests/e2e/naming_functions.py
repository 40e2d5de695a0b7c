"""The functions process of naming_worker.py."""

from __future__ import annotations

import os
import socket
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
    from worker.functions import main

    main()

"""Is the worker of this container alive? Exit status 0: yes, 1: no. Asked by HEALTHCHECK in the Dockerfile.

A container that runs one task and ends (`TASK_DATA`) has no port to ask, nor has one without
`WORKER_MONITOR_PORT`: that it runs is all that can be said.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping

SECONDS = 5.0


def alive(environ: Mapping[str, str]) -> bool:
    port = environ.get("WORKER_MONITOR_PORT", "").strip()
    if environ.get("TASK_DATA") or not port:
        return True
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if alive(os.environ) else 1)

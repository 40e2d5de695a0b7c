"""The API under uvicorn, in a thread, as the worker runs it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from api.app import create_app
from shared.core import Core


@contextmanager
def served(core: Core) -> Iterator[tuple[str, None]]:
    """The API under uvicorn, in a thread, as the worker runs it."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:  # or each answer would take 40 ms
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(create_app(core), log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", None
        server.should_exit = True
        thread.join()

"""The app's HTTP side: its ASGI application under uvicorn.

Not through AsgiFunctionApp's own function, which buffers requests and answers and would need a host in front:
the application gets real connections, so that long polling and many waiting clients work as they should.
"""

from __future__ import annotations

import logging
import math
import socket
from typing import Any

from worker.errors import StartError

log = logging.getLogger(__name__)


class HttpServer:
    def __init__(self, asgi: Any, listener: socket.socket) -> None:
        import uvicorn

        self._socket = listener
        # Logging is set up once for all.
        self._server = uvicorn.Server(uvicorn.Config(asgi, log_config=None, access_log=False))

    def run(self) -> None:
        """Serves until `stop`. Returns early, with the reason in the log, when the app does not start."""
        try:
            self._server.run(sockets=[self._socket])
        except BaseException:  # uvicorn ends by SystemExit when it cannot start
            log.exception("The HTTP server ended")
        finally:
            self._socket.close()

    def stop(self, seconds: float) -> None:
        # uvicorn waits for ever for a client that polls for long, unless it gets a limit
        self._server.config.timeout_graceful_shutdown = math.ceil(seconds)
        self._server.should_exit = True


def bound(address: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises StartError when the port is taken.

    The host makes it and hands it down to each functions process, so that connections wait in it while one
    follows another.
    """
    # asyncio sends without delay only on sockets that say that they are TCP: else each answer on a connection
    # that is kept waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(2048)  # from here on clients wait for the start instead of being refused
    except OSError as error:
        listener.close()
        raise StartError(
            f"DOCMILL_PORT: cannot listen on {address}:{port} ({error.strerror}). Example: DOCMILL_PORT=7072"
        ) from None
    return listener

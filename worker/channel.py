"""The socket between the host and its functions process: one JSON object a line, both ways.

from the host                                        from the functions process
                                                     {"functions": [{"name", "trigger"}], "asgi": bool}
                                                     or {"error": "..."}: the app does not load
{"id", "function", "kind": "queueTrigger",           {"id", "ok": true}
    "body", "metadata"}                              or {"id", "ok": false, "error": "..."}
{"id", "function", "kind": "timerTrigger",
    "past_due": bool}
{"ping": n}                                          {"pong": n}
{"stop": seconds}, then the end of the stream        {"http_ended": true}, when it was not told to
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

Line = dict[str, Any]
LOOK_SECONDS = 0.5
SEND_SECONDS = 30.0
"""Who has not read for this long, with a full buffer, hangs."""
_BLOCK = 65536


class Channel:
    """One end. Any thread may send; one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        self._reader, self._writer = end, end.dup()
        self._reader.settimeout(LOOK_SECONDS)
        self._writer.settimeout(SEND_SECONDS)
        self._lock = threading.Lock()

    def send(self, line: Line) -> None:
        """Raises OSError when nobody reads any more."""
        with self._lock:
            self._writer.sendall(json.dumps(line).encode() + b"\n")

    def lines(self, alive: Callable[[], bool] = lambda: True) -> Iterator[Line]:
        """Until the stream ends or the other side is dead: a process that it forked may hold its end open.

        A line that is none is an end too: a sender gave up in the middle of the one before.
        """
        rest = b""
        while True:
            try:
                block = self._reader.recv(_BLOCK)
            except TimeoutError:
                if alive():
                    continue
                return
            except OSError:  # a reset is an end too
                return
            if not block:
                return
            *whole, rest = (rest + block).split(b"\n")
            try:
                found = [json.loads(line) for line in whole]
            except ValueError:
                return
            yield from found

    def end(self) -> None:
        """Says that nothing more comes from here."""
        try:
            self._writer.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

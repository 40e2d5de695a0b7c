"""One functions process as the host sees it: started, spoken to, ended. It is used once and never again."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.channel import Channel, Line
from worker.errors import AppError, CallFailed, CutOff, NotBegun

MODULE = "worker.functions"
REPOSITORY = Path(__file__).resolve().parent.parent
GONE_SECONDS = 1.0
"""From a kill to the end of a process, at most, as long as the system is well."""


@dataclass(frozen=True)
class Function:
    """One function of the app. `trigger` is its trigger's binding in the form of function.json."""

    name: str
    trigger: dict[str, Any]

    @property
    def kind(self) -> str:
        """queueTrigger, timerTrigger, httpTrigger, ..."""
        return str(self.trigger["type"])


@dataclass(frozen=True)
class Listing:
    """What the app has. `asgi`: it has an ASGI application."""

    functions: tuple[Function, ...]
    asgi: bool

    def of_kind(self, kind: str) -> list[Function]:
        return [function for function in self.functions if function.kind == kind]


class FunctionsProcess:
    def __init__(self, arguments: Sequence[str], listener: socket.socket | None) -> None:
        """Starts it. `listener`: the bound socket that it serves HTTP on.

        The system ends it with the thread that starts it, so that has to be one which lives as long as the
        host.
        """
        ours, theirs = socket.socketpair()
        handed = [theirs.fileno(), *([listener.fileno()] if listener else [])]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, "--sockets", ",".join(map(str, handed)), *arguments],
                cwd=REPOSITORY,
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
            )
        self._channel = Channel(ours)
        self._numbers = itertools.count(1)
        self._pending: dict[int, Future[Line]] = {}
        self._lock = threading.Lock()
        self._over = False
        self._lines = self._channel.lines(self._running)
        self.condemned = False
        """Whether we end it: then those who still wait are cut off, and have not failed."""
        self.ended = threading.Event()
        self.pongs = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def listing(self) -> Listing:
        """Waits for the first line. Raises AppError, with what the app says, when it does not load."""
        first = next(self._lines, None)
        if first is None:
            self._process.kill()
            self._channel.close()
            raise AppError(f"function_app.py: its process {told(self._process.wait())} while it was loaded")
        if "error" in first:
            self._process.wait()
            self._channel.close()
            raise AppError(first["error"])
        functions = tuple(Function(each["name"], each["trigger"]) for each in first["functions"])
        return Listing(functions, bool(first["asgi"]))

    def read(self, http_ended: threading.Event) -> int:
        """Takes its answers until it ends; gives its exit status. What it was asked and did not answer has
        failed then, or was cut off."""
        for line in self._lines:
            if "id" in line:
                self._answered(line)
            elif "pong" in line:
                self.pongs = line["pong"]
            elif "http_ended" in line:
                http_ended.set()
        # Whatever closed the channel: without it the process is of no use.
        self._settle_status()
        self._process.kill()
        status = self._process.wait()
        self._fail_all(status)
        self.ended.set()
        self._channel.close()
        return status

    def call(self, line: Line, seconds: float | None) -> None:
        """Runs a function. Raises CallFailed, CutOff, NotBegun, and TimeoutError after `seconds`."""
        future: Future[Line] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._over or self.condemned:
                raise NotBegun
            self._pending[number] = future
        try:
            self._channel.send({"id": number, **line})
        except TimeoutError:
            raise
        except OSError:  # it ends; `read` says how
            pass
        answer = future.result(seconds)
        if not answer["ok"]:
            raise CallFailed(answer["error"])

    def ping(self, number: int) -> None:
        with suppress(OSError):
            self._channel.send({"ping": number})

    def stop(self, seconds: float) -> None:
        """No HTTP any more: it may take this long to end what it has."""
        with suppress(OSError):
            self._channel.send({"stop": seconds})

    def finish(self, seconds: float) -> None:
        """Lets it end, and kills it when it has not after this time. Whoever still waits is cut off."""
        self.condemned = True
        self._channel.end()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GONE_SECONDS)

    def kill(self) -> None:
        self.condemned = True
        self._process.kill()

    def _running(self) -> bool:
        return self._process.poll() is None

    def _settle_status(self) -> None:
        """A process that ends closes its channel a moment before it is gone."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)

    def _answered(self, line: Line) -> None:
        with self._lock:
            future = self._pending.pop(line["id"], None)
        if future:
            future.set_result(line)

    def _fail_all(self, status: int) -> None:
        with self._lock:
            self._over = True
            pending, self._pending = list(self._pending.values()), {}
        for future in pending:
            future.set_exception(CutOff() if self.condemned else CallFailed(f"its process {told(status)}"))


def told(status: int) -> str:
    """An exit status of `subprocess` in words."""
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

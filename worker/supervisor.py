"""Keeps one functions process up: starts it, renews it when it hangs or dies, and passes calls to it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque

from worker.channel import Line
from worker.errors import AppError, CallFailed, NotBegun, StartError
from worker.http import bound
from worker.options import Options
from worker.process import FunctionsProcess, Listing, told

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""What the other functions get to end before their process is killed, as in the Functions host."""
FREE_DEATHS = 3
LONGEST_PAUSE = 30.0
MEMORY_SECONDS = 300.0
"""A death is forgotten after this time."""


class Pauses:
    """How long to wait before a process that died is started again: not at all at first, then 1, 2, 4 ...
    seconds, the more of them died lately. (The Functions host gives up after three and starts itself anew.)
    """

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=20)

    def after_death(self, now: float) -> float:
        while self._deaths and now - self._deaths[0] > MEMORY_SECONDS:
            self._deaths.popleft()
        self._deaths.append(now)
        more = len(self._deaths) - FREE_DEATHS
        return min(LONGEST_PAUSE, 2.0 ** (more - 1)) if more > 0 else 0.0


class Supervisor:
    def __init__(self, options: Options) -> None:
        """Raises nothing: a port that is taken is `port_problem`."""
        self._options = options
        self.socket, self.port_problem = _bound(options)
        self.timeout: float | None = None
        """functionTimeout in seconds. Whoever reads host.json sets it before the first call."""
        self.http_ended = threading.Event()
        """A process has stopped serving HTTP without being told to."""
        self._process: FunctionsProcess | None = None
        self._listing: Listing | StartError | None = None
        self._listed, self._up, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._condemning = threading.Lock()
        self._pauses = Pauses()

    def begin(self) -> None:
        """Starts the first process, in the thread that all of them are started and read in."""
        threading.Thread(target=self._keep, name="functions", daemon=True).start()

    def listing(self) -> Listing:
        """What the app has. Raises AppError when it does not load."""
        self._listed.wait()
        assert self._listing is not None
        if isinstance(self._listing, StartError):
            raise self._listing
        return self._listing

    def no_http(self) -> None:
        """The app has none."""
        if self.socket:
            self.socket.close()
            self.socket = None

    @property
    def process(self) -> FunctionsProcess | None:
        """The one that takes calls now."""
        return self._process if self._up.is_set() else None

    def problem(self) -> str | None:
        """Why no functions can be run at this moment."""
        return None if self._up.is_set() else "The functions process is being renewed."

    def wait(self, seconds: float) -> bool:
        """Whether there is a process that takes calls, within this time."""
        return self._up.wait(seconds)

    def wait_until_up(self, stopping: threading.Event) -> bool:
        """False when the worker stops before."""
        while not self._up.wait(0.5):
            if stopping.is_set():
                return False
        return True

    def call(self, line: Line) -> None:
        """Runs a function, in the next process when this one just ends. Raises CallFailed, CutOff, and
        NotBegun when the worker stops before there is one."""
        while True:
            process = self._current()
            try:
                return process.call(line, self.timeout)
            except NotBegun:
                process.ended.wait()
            except TimeoutError:
                log.error("%s runs longer than functionTimeout, its process is renewed", line["function"])
                self._renew(process)
                raise CallFailed("it ran longer than functionTimeout") from None

    def stop(self, seconds: float) -> None:
        """Serves no HTTP any more; functions can still be called."""
        self._stopping.set()
        if self._process:
            self._process.stop(seconds)

    def finish(self, seconds: float) -> None:
        """Ends the process. What still runs after this time is cut off."""
        self._stopping.set()
        if self._process:
            self._process.finish(seconds)

    def kill(self) -> None:
        self._stopping.set()
        if self._process:
            self._process.kill()

    def _current(self) -> FunctionsProcess:
        if not self.wait_until_up(self._stopping):
            raise NotBegun
        assert self._process is not None
        return self._process

    def _renew(self, process: FunctionsProcess) -> None:
        """Returns when it is gone: before that its message must not be given to anybody else."""
        with self._condemning:
            if not process.ended.is_set():
                process.condemned = True
                self._up.clear()
                process.ended.wait(GRACE_SECONDS)
                process.kill()
        process.ended.wait()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            process = self._ready()
            if process is None:
                if not self._listed.is_set():
                    self._listed.set()
                    return
                self._stopping.wait(self._pauses.after_death(time.monotonic()))
                continue
            self._listed.set()
            log.info("Functions process %d is up", process.pid)
            self._up.set()
            status = process.read(self.http_ended)
            self._up.clear()
            if not process.condemned and not self._stopping.is_set():
                pause = self._pauses.after_death(time.monotonic())
                log.error("Functions process %d %s, another starts in %g s", process.pid, told(status), pause)
                self._stopping.wait(pause)

    def _ready(self) -> FunctionsProcess | None:
        """A new process with its app loaded; None, with the reason in the log, when there is none to be had.
        The very first one's reason is told to whoever waits for the listing."""
        try:
            process = self._process = FunctionsProcess(_arguments(self._options), self.socket)
            listing = process.listing()
        except (AppError, OSError) as error:
            if self._listed.is_set():
                log.error("The functions process cannot be started: %s", error)
            else:
                self._listing = error if isinstance(error, StartError) else AppError(str(error))
            return None
        self._listing = self._listing or listing
        return process


def _bound(options: Options) -> tuple[socket.socket | None, StartError | None]:
    """The socket for HTTP, or why there is none."""
    if "http" not in options.parts:
        return None, None
    try:
        return bound(options.address, options.port), None
    except StartError as error:
        return None, error


def _arguments(options: Options) -> list[str]:
    """Of the functions process."""
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    return ["--parent", str(os.getpid()), "--app-root", str(options.app_root), *threads]

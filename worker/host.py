"""Runs what the function app has, until a signal: queue listeners, timers, the HTTP server."""

from __future__ import annotations

import logging
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from shared.settings import Settings
from worker.app import Function, FunctionApp
from worker.delivery import Leases
from worker.environment import resolve
from worker.errors import StartError
from worker.host_json import HostJson
from worker.http import HttpServer
from worker.pool import Pool
from worker.queues import Listener, Surroundings
from worker.storage import queue_service_of
from worker.timers import Timer

Made = TypeVar("Made")

log = logging.getLogger(__name__)

PARTS = ("queues", "timers", "http")
KINDS = ("queueTrigger", "timerTrigger", "httpTrigger")
TASK_QUEUE_SUFFIX = "-tasks"
SIGNAL_SECONDS = 0.5
"""A signal is noticed within this time, whichever thread it came to."""
SAME_SIGNAL_SECONDS = 0.5
"""Signals this close are one: Ctrl+C reaches a whole process group, and its leader passes it on."""
_QUEUE_NAME = re.compile(r"^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$")


@dataclass(frozen=True)
class Options:
    """The command line. `clients`: of the queues `{client}-tasks` only theirs; None: all.

    `http_asked`: somebody wants this very process to serve HTTP, so a port that is taken ends it.
    """

    parts: tuple[str, ...]
    clients: tuple[str, ...] | None
    address: str
    port: int
    http_asked: bool
    drain_seconds: float
    threads: int | None


class Host:
    """Everything is made here and nothing started, so that a wrong set-up ends the worker before it takes a
    message. Raises StartError and SettingsError."""

    def __init__(
        self,
        app: FunctionApp,
        host_json: HostJson,
        settings: Settings,
        options: Options,
        environ: Mapping[str, str],
    ) -> None:
        self._app, self._settings, self._options, self._environ = app, settings, options, environ
        self._events: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._first_signal_at: float | None = None
        self._stopping = threading.Event()
        self._pool = Pool(options.threads)
        self._leases = Leases(settings.worker_lease_seconds)
        development = environ.get("AZURE_FUNCTIONS_ENVIRONMENT", "").lower() == "development"
        self._shared = Surroundings(
            host_json.queues,
            host_json.queues.poll_cap(development=development),
            self._pool,
            self._leases,
            self._stopping,
        )
        self._listeners = self._all("queues", "queueTrigger", self._listener)
        self._check_clients()
        self._name_unknown()
        self._timers = self._all("timers", "timerTrigger", self._timer)
        self._http = self._http_server()

    def run(self) -> int:
        """Works until SIGTERM or SIGINT, lets what runs end, and returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        log.info("%s", self._summary())
        _started(self._leases.run)
        pollers = [_started(listener.run) for listener in self._listeners]
        for timer in self._timers:
            _started(timer.run)
        web = _started(self._serve) if self._http else None
        status = self._first_event()
        self._stop(pollers, web)
        return status

    def _first_event(self) -> int:
        """Waits in pieces: a signal that the system hands to another thread does not end a wait in this one,
        and Python calls the handler here only once the wait has ended."""
        while True:
            with suppress(queue.Empty):
                return self._events.get(timeout=SIGNAL_SECONDS)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_signal_at is None:
            self._first_signal_at = now
            self._events.put(0)  # a SimpleQueue may be written from a signal handler, an Event may not
        elif now - self._first_signal_at > SAME_SIGNAL_SECONDS:
            os._exit(128 + number)

    def _serve(self) -> None:
        if self._http:
            self._http.run()
        self._events.put(1)

    def _stop(self, pollers: list[threading.Thread], web: threading.Thread | None) -> None:
        """Takes nothing new, waits for what runs, leaves the rest to its lease."""
        log.info("Stopping: up to %g s for what still runs", self._options.drain_seconds)
        until = time.monotonic() + self._options.drain_seconds
        self._stopping.set()
        if self._http:
            self._http.stop()
        for poller in pollers:
            # So that what one has just received is run or given back; a hanging one must not take all of it.
            poller.join(max(0.0, until - time.monotonic() - self._options.drain_seconds * 0.8))
        left = self._pool.drain(max(0.0, until - time.monotonic()))
        if web:
            # A moment more: uvicorn takes as long itself to cut off those who still wait.
            web.join(max(0.0, until - time.monotonic()) + 1)
        log.info("Stopped, %d calls cut off", left)
        if left:
            # Threads cannot be killed, and Python would wait for them.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)

    def _summary(self) -> str:
        shared, names = self._shared, ", ".join(function.name for function in self._app.functions)
        queues = ", ".join(listener.queue for listener in self._listeners) or "none"
        web = f"http://{self._options.address}:{self._http.port}" if self._http else "off"
        return (
            f"Docmill worker: functions {names}; queues {queues}; timers {len(self._timers)}; http {web}; "
            f"batchSize {shared.options.batch_size}, newBatchThreshold {shared.options.threshold}, "
            f"maxDequeueCount {shared.options.max_dequeue_count}, "
            f"visibilityTimeout {shared.options.visibility_timeout}, polling up to {shared.poll_cap:g} s, "
            f"lease {self._leases.seconds:g} s"
        )

    def _all(self, part: str, kind: str, make: Callable[[Function], Made | None]) -> list[Made]:
        """One of each function of a kind. As in the host, a function with a wrong binding is left out with an
        error in the log, and the others run."""
        made: list[Made] = []
        for function in self._app.of_kind(kind) if part in self._options.parts else ():
            try:
                one = make(function)
            except KeyError as error:
                log.error("Function %s is skipped: the setting %s is not set", function.name, error)
            except ValueError as error:
                log.error("Function %s is skipped: %s", function.name, error)
            else:
                made += [one] if one else []
        return made

    def _listener(self, function: Function) -> Listener | None:
        name = resolve(str(function.trigger["queueName"]), self._environ).lower()
        if not _QUEUE_NAME.match(name):
            raise ValueError(f"{name!r} is not the name of a queue")
        if not self._wanted(name):
            return None
        # A client for each listener: the SDK keeps ten connections per client and drops the others.
        service = queue_service_of(str(function.trigger["connection"]), self._settings, self._environ)
        return Listener(function, name, service, self._shared)

    def _check_clients(self) -> None:
        served = {listener.queue for listener in self._listeners}
        for client in self._options.clients or ():
            if "queues" in self._options.parts and client + TASK_QUEUE_SUFFIX not in served:
                raise StartError(f"--clients: the app has no trigger for {client}{TASK_QUEUE_SUFFIX}")

    def _name_unknown(self) -> None:
        for function in self._app.functions:
            if function.kind not in KINDS:
                log.error("Function %s is skipped: this worker has no %s", function.name, function.kind)

    def _wanted(self, queue_name: str) -> bool:
        clients = self._options.clients
        if clients is None or not queue_name.endswith(TASK_QUEUE_SUFFIX):
            return True
        return queue_name.removesuffix(TASK_QUEUE_SUFFIX) in clients

    def _timer(self, function: Function) -> Timer:
        schedule = resolve(str(function.trigger["schedule"]), self._environ)
        return Timer(function, schedule, self._pool, self._stopping)

    def _http_server(self) -> HttpServer | None:
        if "http" not in self._options.parts:
            return None
        for function in self._app.of_kind("httpTrigger"):
            if self._app.asgi is None:
                log.error(
                    "Function %s is skipped: of HTTP functions only AsgiFunctionApp's is run", function.name
                )
        if self._app.asgi is None:
            return None
        options = self._options
        try:
            return HttpServer(self._app.asgi, options.address, options.port, options.drain_seconds)
        except StartError as error:
            if options.http_asked or not self._listeners:
                raise
            # The usual case: a second worker on the same machine and settings. It shares the queues.
            log.warning("%s This worker serves no HTTP.", error)
            return None


def _started(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread

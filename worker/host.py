"""Runs what the function app has, until a signal: queue listeners, timers, and the process of its functions.

The host itself never imports the app: what it runs may hang, crash or eat memory, and is replaced then.
"""

from __future__ import annotations

import importlib
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
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from api import VERSION
from shared import scratch
from shared.settings import Settings
from worker.delivery import Leases
from worker.environment import resolve
from worker.errors import StartError
from worker.host_json import HostJson
from worker.options import Options
from worker.pool import Pool
from worker.process import Function
from worker.pulse import Pulse
from worker.queues import SIGNAL_SECONDS, Listener, Surroundings
from worker.storage import queue_service_of
from worker.supervisor import Supervisor
from worker.systemd import notify
from worker.timers import Timer
from worker.turns import Turns, app_name

if TYPE_CHECKING:
    from worker.monitoring import Monitor

Made = TypeVar("Made")

log = logging.getLogger(__name__)

KINDS = ("queueTrigger", "timerTrigger", "httpTrigger")
TASK_QUEUE_SUFFIX = "-tasks"
SAME_SIGNAL_SECONDS = 0.5
"""Signals this close are one: Ctrl+C reaches a whole process group, and its leader passes it on."""
_QUEUE_NAME = re.compile(r"^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*$")


class Host:
    """Everything is made here and nothing started but the functions process, which may serve HTTP already: a
    wrong set-up ends the worker before it takes a message. Raises StartError and SettingsError."""

    def __init__(
        self,
        functions: Supervisor,
        host_json: HostJson,
        settings: Settings,
        options: Options,
        environ: Mapping[str, str],
    ) -> None:
        self._functions, self._host_json, self._settings = functions, host_json, settings
        self._options, self._environ = options, environ
        self._events: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._first_signal_at: float | None = None
        self._stopping = threading.Event()
        self._pool = Pool(options.threads)
        self._leases = Leases(settings.worker_lease_seconds)
        self._pulse = Pulse(functions)
        self._drain_seconds = (
            settings.worker_drain_seconds if options.drain_seconds is None else options.drain_seconds
        )
        development = environ.get("AZURE_FUNCTIONS_ENVIRONMENT", "").lower() == "development"
        self._shared = Surroundings(
            host_json.queues,
            host_json.queues.poll_cap(development=development),
            functions,
            self._pool,
            self._leases,
            self._stopping,
        )
        importlib.import_module("azure.storage.queue")
        functions.timeout = _seconds(host_json)
        self._app = functions.listing()
        self._listeners = self._all("queues", "queueTrigger", self._listener)
        self._check_clients()
        self._name_unknown()
        self._timers = self._all("timers", "timerTrigger", self._timer)
        self._check_http()
        self._monitor = self._monitoring()

    def run(self) -> int:
        """Works until SIGTERM or SIGINT, lets what runs end, and returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        log.info("%s", self._summary())
        _started(self._leases.run)
        pollers = [_started(listener.run) for listener in self._listeners]
        timers = [_started(timer.run) for timer in self._timers]
        _started(lambda: self._pulse.run(self._stopping))
        if self._monitor:
            _started(self._monitor.run)
        status = self._first_event()
        self._stop(pollers, timers)
        return status

    def _first_event(self) -> int:
        """Waits in pieces: a signal that the system hands to another thread does not end a wait in this one,
        and Python calls the handler here only once the wait has ended."""
        while True:
            self._pulse.turn()
            if self._functions.http_ended.is_set():
                return 1
            with suppress(queue.Empty):
                return self._events.get(timeout=SIGNAL_SECONDS)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_signal_at is None:
            self._first_signal_at = now
            self._events.put(0)  # a SimpleQueue may be written from a signal handler, an Event may not
        elif now - self._first_signal_at > SAME_SIGNAL_SECONDS:
            self._functions.kill()
            os._exit(128 + number)

    def _stop(self, pollers: list[threading.Thread], timers: list[threading.Thread]) -> None:
        """Takes nothing new, waits for what runs, leaves the rest to its lease."""
        notify("STOPPING=1")
        log.info("Stopping: up to %g s for what still runs", self._drain_seconds)
        until = time.monotonic() + self._drain_seconds
        self._stopping.set()
        _started(lambda: self._functions.stop(self._drain_seconds))  # which waits for one that does not read
        for poller in pollers:
            # So that what one has just received is run or given back; a hanging one must not take all of it.
            poller.join(max(0.0, until - time.monotonic() - self._drain_seconds * 0.8))
        left = self._pool.drain(max(0.0, until - time.monotonic()))
        # A moment more: uvicorn takes as long itself to cut off those who still wait.
        self._functions.finish(0.0 if left else max(0.0, until - time.monotonic()) + 1)
        scratch.tidy()  # a process that was cut off has not done so itself
        for timer in timers:
            timer.join(1)  # it lets go of its turn
        if self._monitor:
            self._monitor.stop()
        log.info("Stopped, %d calls cut off", left)
        if left and self._pool.drain(1):
            # A thread still hangs in a call to storage, and Python would wait for it.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)

    def _summary(self) -> str:
        shared, names = self._shared, ", ".join(function.name for function in self._app.functions)
        queues = ", ".join(listener.queue for listener in self._listeners) or "none"
        listener = self._functions.socket
        web = f"http://{self._options.address}:{listener.getsockname()[1]}" if listener else "off"
        monitor = f"http://127.0.0.1:{self._monitor.port}" if self._monitor else "off"
        return (
            f"Docmill worker: version {VERSION}; clients {', '.join(self._settings.client_ids)}; "
            f"provider {self._settings.provider}; functions {names}; queues {queues}; "
            f"timers {len(self._timers)}; http {web}; "
            f"batchSize {shared.options.batch_size}, newBatchThreshold {shared.options.threshold}, "
            f"maxDequeueCount {shared.options.max_dequeue_count}, "
            f"visibilityTimeout {shared.options.visibility_timeout}, polling up to {shared.poll_cap:g} s, "
            f"functionTimeout {self._host_json.function_timeout or 'none'}, "
            f"lease {self._leases.seconds:g} s, drain {self._drain_seconds:g} s; monitor {monitor}"
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
        return Timer(function, schedule, self._functions, self._turns(), self._pool, self._stopping)

    def _turns(self) -> Turns:
        from shared.storage.accounts import blob_service

        return Turns(blob_service(self._settings), app_name(self._settings, self._environ))

    def _monitoring(self) -> Monitor | None:
        port, given = self._settings.worker_monitor_port, self._options.monitor_port
        port = port if given is None else given
        if port is None:
            return None
        from shared.core import Core
        from worker.gauges import ProcessGauges, QueueGauges, worker_gauges
        from worker.monitoring import Monitor

        core = Core(self._settings)
        processes = ProcessGauges(lambda: [process.pid] if (process := self._functions.process) else [])
        queues = QueueGauges(
            core.queues, core.dead_letters, self._options.clients or self._settings.client_ids
        )
        return Monitor(
            "127.0.0.1",
            port,
            lambda: {"storage": core.storage_problem(), "functions": self._functions.problem()},
            worker_gauges(queues, processes, VERSION),
            self._pulse.alive,
        )

    def _check_http(self) -> None:
        functions = self._app.of_kind("httpTrigger")
        if self._app.asgi and (problem := self._functions.port_problem):
            if self._options.http_asked or not self._listeners:
                raise problem
            # The usual case: a second worker on the same machine and settings. It shares the queues.
            log.warning("%s This worker serves no HTTP.", problem)
        elif not self._app.asgi:
            self._functions.no_http()
            for function in functions if "http" in self._options.parts else ():
                log.error(
                    "Function %s is skipped: of HTTP functions only AsgiFunctionApp's is run", function.name
                )


def _seconds(host_json: HostJson) -> float | None:
    timeout = host_json.function_timeout
    return timeout.total_seconds() if timeout else None


def _started(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread

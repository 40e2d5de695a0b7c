"""The functions process: `function_app` and what it does, in a process that the host can replace.

It is started by the host alone and ends with it, however that ends. See channel.py for what they say.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shared import logs, scratch, telemetry
from shared.settings import Settings, SettingsError, read_settings
from worker.app import Function, load
from worker.channel import Channel, Line
from worker.errors import AppError
from worker.http import HttpServer
from worker.message import queue_message
from worker.options import FIGURES

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Exit status 0 when the host told it to stop; with the host it ends at once."""
    given = _parser().parse_args()
    _end_with(given.parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        # They reach a whole process group or service; when this one ends is for the host to say. Not SIG_IGN,
        # which the processes that we start would inherit.
        signal.signal(number, lambda *_: None)
    channel, *listener = [_received(int(number)) for number in given.sockets.split(",")]
    Functions(given.app_root, given.threads, Channel(channel), listener[0] if listener else None).run()


class Functions:
    def __init__(
        self, app_root: Path, threads: int | None, channel: Channel, listener: socket.socket | None
    ) -> None:
        self._app_root, self._channel, self._listener = app_root, channel, listener
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._loop = Loop()
        self._web: HttpServer | None = None
        self._serving: threading.Thread | None = None
        self._stopping = False

    def run(self) -> None:
        try:
            settings = read_settings()
        except SettingsError:
            return  # the host reads them too, and says what is wrong
        logs.configure(settings)
        scratch.tidy()
        _count(settings)
        os.chdir(self._app_root)  # where the host's Python worker stands too
        try:
            app = load(self._app_root)
        except AppError as error:
            self._channel.send({"error": str(error)})
            return
        functions = {function.name: function for function in app.functions}
        listed = [{"name": function.name, "trigger": function.trigger} for function in app.functions]
        self._channel.send({"functions": listed, "asgi": app.asgi is not None})
        if app.asgi is not None and self._listener:
            self._web = HttpServer(app.asgi, self._listener)
            self._serving = threading.Thread(target=self._serve, args=(self._web,))
            self._serving.start()
        for line in self._channel.lines():
            self._take(line, functions)
        if not self._stopping:
            os._exit(0)  # the host is gone
        if self._serving:
            self._serving.join()
        telemetry.close()

    def _take(self, line: Line, functions: dict[str, Function]) -> None:
        if "function" in line:
            self._pool.submit(self._call, functions.get(line["function"]), line)
        elif "ping" in line:
            self._channel.send({"pong": line["ping"]})
        elif "stop" in line:
            self._stopping = True
            if self._web:
                self._web.stop(line["stop"])

    def _serve(self, web: HttpServer) -> None:
        web.run()
        if not self._stopping:
            self._channel.send({"http_ended": True})

    def _call(self, function: Function | None, line: Line) -> None:
        error = self._error(function, line)
        answer = {"ok": True} if error is None else {"ok": False, "error": error}
        try:
            self._channel.send({"id": line["id"], **answer})
        except OSError:
            log.warning("Nobody hears any more what became of %s", line["function"])

    def _error(self, function: Function | None, line: Line) -> str | None:
        began = time.monotonic()
        try:
            if function is None:
                raise LookupError("the app has no such function any more")
            returned = function.call(**function.arguments(_argument(line)))
            if inspect.iscoroutine(returned):
                returned = self._loop.run(returned)
            if returned is not None:
                raise TypeError(f"{function.name} returned a value but has no output binding")
        except (SystemExit, KeyboardInterrupt) as ending:
            self._exit(line, ending)
        except BaseException as error:
            log.exception("%s failed on %s", line["function"], _subject(line))
            return f"{type(error).__name__}: {error}"
        log.debug("%s did %s in %.2f s", line["function"], _subject(line), time.monotonic() - began)
        return None

    @staticmethod
    def _exit(line: Line, ending: BaseException) -> None:
        """As in the host's Python worker, where the event loop passes it on: the whole process ends."""
        log.exception("%s ends its process on %s", line["function"], _subject(line))
        logging.shutdown()
        code = ending.code if isinstance(ending, SystemExit) else 1
        os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


class Loop:
    """The event loop of all asynchronous functions, one for all as in the host's Python worker: one that
    blocks blocks the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        value, ending = asyncio.run_coroutine_threadsafe(_contained(coroutine), self._loop).result()
        if ending:
            raise ending
        return value


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """These two would end the loop before anybody heard of them."""
    try:
        return await coroutine, None
    except (SystemExit, KeyboardInterrupt) as ending:
        return None, ending


def _count(settings: Settings) -> None:
    """For /metrics, where the host serves it."""
    if os.environ.get(FIGURES):
        try:
            from worker import metrics

            metrics.install(settings)
        except ImportError:
            log.warning("/metrics has gauges alone: prometheus_client is not installed")
        except OSError as error:
            log.warning("/metrics has nothing of this process: %s", error.strerror)


def _argument(line: Line) -> Any:
    """What the function is called with. Raises ValueError when a payload spoils its own metadata."""
    if line["kind"] == "queueTrigger":
        return queue_message(line["body"], line["metadata"])
    from azure.functions.timer import TimerRequest

    return TimerRequest(past_due=line["past_due"])


def _subject(line: Line) -> str:
    if line["kind"] != "queueTrigger":
        return "its schedule"
    return f"message {line['metadata']['Id']}, delivery {line['metadata']['DequeueCount']}"


def _received(number: int) -> socket.socket:
    """A socket by its descriptor, which our own children must not get."""
    found = socket.socket(fileno=number)
    found.set_inheritable(False)
    return found


def _end_with(parent: int) -> None:
    """Has the system kill us when the host dies (Linux). Elsewhere, and when that was a moment ago, the end
    of the channel says so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.functions", description=__doc__)
    parser.add_argument("--sockets", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--app-root", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    return parser


if __name__ == "__main__":
    main()

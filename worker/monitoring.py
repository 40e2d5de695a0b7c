"""What an operator's tools ask the worker: alive, ready, and its metrics, on a port of their own.

It runs in the host process, apart from the API: it answers while functions hang, and nobody outside this
machine gets to it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from worker.errors import StartError
from worker.gauges import HELP, Sample
from worker.kept import Kept

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

READY_SECONDS = 5.0
"""How long an answer about readiness is kept, so that no prober can load what it probes."""
PATIENCE_SECONDS = 8.0
"""Below the 10 s that Prometheus and most probers wait. Whatever takes longer does not answer."""
GOOD_SECONDS = 10.0
"""How long an answer counts while storage keeps us waiting for the next one."""
REQUEST_SECONDS = 10.0

_LATE = {"worker": f"Its parts were not heard of within {PATIENCE_SECONDS:g} s."}


@dataclass(frozen=True)
class _Answer:
    status: int
    kind: str
    body: bytes


class Monitor:
    """`checks`: what is wrong with each thing that work needs, None where nothing is. `gauges`: the values of
    this moment, read at each scrape. `alive`: whether the loops of the host go round; without it they do."""

    def __init__(
        self,
        address: str,
        port: int,
        checks: Callable[[], Mapping[str, str | None]],
        gauges: Callable[[], Iterable[Sample]],
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        """Port 0 takes a free one. Raises StartError when the port is taken."""
        self._checks: Kept[Mapping[str, str | None]] = Kept(
            checks, seconds=READY_SECONDS, patience=PATIENCE_SECONDS, good_for=GOOD_SECONDS, idle=_LATE
        )
        self._gauges, self._alive = gauges, alive
        self._server = _bound(address, port, self._answer)
        self.port = int(self._server.server_address[1])
        self._serving = threading.Event()

    def run(self) -> None:
        """Serves until `stop`."""
        self._serving.set()
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()

    def stop(self) -> None:
        """Returns when nothing is served any more; at once when `run` was never called."""
        if self._serving.is_set():
            self._server.shutdown()
        else:
            self._server.server_close()

    def _answer(self, path: str) -> _Answer:
        match path:
            case "/healthz":
                return _told(200 if self._alive() else 503, {})
            case "/readyz":
                problems = self._checks.latest()
                bad = any(problem is not None for problem in problems.values())
                checks = {name: problem or "ok" for name, problem in problems.items()}
                return _told(503 if bad else 200, {"checks": checks})
            case "/metrics":
                return self._metrics()
            case _:
                return _Answer(404, "text/plain; charset=utf-8", b"/healthz, /readyz, /metrics\n")

    def _metrics(self) -> _Answer:
        from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            # The collector adds up what the processes of this worker wrote, also those that are gone.
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(REGISTRY)
        registry.register(_Gauges(self._gauges))
        return _Answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))


class _Gauges:
    """The collector of what is read at this moment."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def describe(self) -> list[Metric]:
        return []  # otherwise the registry would read everything once more to learn the names

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        families: dict[str, GaugeMetricFamily] = {}
        for sample in self._samples():
            names = list(sample.labels)
            family = families.setdefault(
                sample.name, GaugeMetricFamily(sample.name, HELP[sample.name], labels=names)
            )
            family.add_metric([sample.labels[name] for name in names], sample.value)
        yield from families.values()


def _told(status: int, told: dict[str, Any]) -> _Answer:
    body = json.dumps({"status": "ok" if status == 200 else "unavailable", **told}, ensure_ascii=False)
    return _Answer(status, "application/json", body.encode())


def _bound(address: str, port: int, answer: Callable[[str], _Answer]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS  # for whoever connects and says nothing

        def do_GET(self) -> None:
            try:
                given = answer(self.path.partition("?")[0])
            except Exception:
                log.exception("The monitor could not answer %r", self.path[:100])
                given = _told(500, {})
            self.send_response(given.status)
            self.send_header("Content-Type", given.kind)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            return  # probes come every few seconds

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            log.debug("A client of the monitor went away", exc_info=True)

        def server_bind(self) -> None:
            # Not HTTPServer's, which asks the resolver for our own name and may wait for it.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()

    try:
        return Server((address, port), Handler)
    except OSError as error:
        raise StartError(
            f"WORKER_MONITOR_PORT: cannot listen on {address}:{port} ({error.strerror}). "
            "Example: WORKER_MONITOR_PORT=9465"
        ) from None

"""`python -m worker`: the command line, and what has to be right before anything starts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared import scratch
from worker import environment
from worker.errors import StartError
from worker.options import FIGURES, PARTS, Options
from worker.process import REPOSITORY
from worker.supervisor import Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 stopped by a signal, 1 the app does not load or serve HTTP, 2 a wrong set-up. With
    TASK_DATA: 0 the task has succeeded, 1 it has not, 2 a wrong set-up or TASK_DATA."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except StartError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.status
    except KeyboardInterrupt:  # before the host took over the signals
        return 130


def _run(given: argparse.Namespace) -> int:
    environ = environment.prepare(given.app_root.resolve())
    if environ.get("TASK_DATA"):
        return _one_task()
    options = _options(given, environ)
    with _figures(options, environ):
        functions = Supervisor(options)
        # First of all: it imports the app while the host imports its own things, which takes as long.
        functions.begin()
        try:
            return _hosted(functions, options, environ)
        finally:
            functions.kill()


def _one_task() -> int:
    from shared.settings import SettingsError, read_settings
    from worker import one_shot

    try:
        return one_shot.main(read_settings())
    except SettingsError as error:
        raise StartError(str(error)) from error


def _hosted(functions: Supervisor, options: Options, environ: Mapping[str, str]) -> int:
    from shared import logs
    from shared.settings import SettingsError, read_settings
    from worker.host import Host
    from worker.host_json import read_host_json

    try:
        settings = read_settings()
        logs.configure(settings)
        environment.resolvable(settings)
        host_json = read_host_json(options.app_root, environ)
        return Host(functions, host_json, settings, options, environ).run()
    except SettingsError as error:
        raise StartError(str(error)) from error


def _options(given: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    return Options(
        app_root=given.app_root.resolve(),
        parts=tuple(given.only or PARTS),
        clients=given.clients,
        address=given.address,
        port=environment.port(environ) if given.port is None else given.port,
        http_asked=given.port is not None or "http" in (given.only or ()),
        drain_seconds=given.drain_seconds,
        threads=environment.threads(environ),
        monitor_port=given.monitor_port,
    )


@contextmanager
def _figures(options: Options, environ: Mapping[str, str]) -> Iterator[None]:
    """A folder where the processes of this worker leave their metrics, also those that are gone. It has to be
    known before prometheus_client is imported, by the host or by what it starts."""
    if environ.get(FIGURES) or (options.monitor_port is None and not environ.get("WORKER_MONITOR_PORT")):
        yield
        return
    with scratch.folder() as folder:
        os.environ[FIGURES] = folder
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Runs the function app outside Azure: queue triggers, timers, the HTTP API.",
        epilog="Not imitated: function keys, other bindings, other HTTP functions, scaling, /admin routes.",
    )
    parser.add_argument(
        "--app-root",
        type=Path,
        default=REPOSITORY,
        metavar="DIR",
        help="folder of function_app.py and host.json",
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="run only this part (may be repeated)")
    parser.add_argument(
        "--clients",
        type=_names,
        metavar="A,B",
        help="of the task queues serve only those of these clients; other queues are served as always",
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="address of the HTTP side (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, help="port of the HTTP side (default: DOCMILL_PORT, else 7071; 0: a free one)"
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        metavar="N",
        help="time for running calls after SIGTERM or SIGINT (default: WORKER_DRAIN_SECONDS, else 10); "
        "a second signal ends at once",
    )
    parser.add_argument(
        "--monitor-port",
        type=int,
        metavar="N",
        help="port of /healthz, /readyz and /metrics on 127.0.0.1 (default: WORKER_MONITOR_PORT, else none)",
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("name at least one client")
    return names


if __name__ == "__main__":
    sys.exit(main())

"""`python -m worker`: the command line, and what has to be right before anything starts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from shared import logs
from shared.settings import SettingsError, read_settings
from worker import environment
from worker.errors import StartError
from worker.host import PARTS, Host, Options
from worker.host_json import read_host_json
from worker.process import REPOSITORY

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 stopped by a signal, 1 the app does not load or serve HTTP, 2 a wrong set-up."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except StartError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.status
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:  # before the host took over the signals
        return 130


def _run(given: argparse.Namespace) -> int:
    app_root: Path = given.app_root.resolve()
    environ = environment.prepare(app_root)
    settings = read_settings()
    environment.resolvable(settings)
    host_json = read_host_json(app_root, environ)
    port = environment.port(environ) if given.port is None else given.port
    threads = environment.threads(environ)

    logs.configure(settings)
    options = Options(
        parts=tuple(given.only or PARTS),
        clients=given.clients,
        address=given.address,
        port=port,
        http_asked=given.port is not None or "http" in (given.only or ()),
        drain_seconds=_given_or(given.drain_seconds, settings.worker_drain_seconds),
        threads=threads,
        monitor_port=_given_or(given.monitor_port, settings.worker_monitor_port),
    )
    return Host(app_root, host_json, settings, options, environ).run()


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


def _given_or(given: T | None, setting: T) -> T:
    return setting if given is None else given


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("name at least one client")
    return names


if __name__ == "__main__":
    sys.exit(main())

"""Cold start: how long a new process takes until it is of use, and what it holds then.

Each figure is of processes of their own, started by turns so that a busy moment hits all kinds alike; the
first round fills the caches of files and is thrown away. `seconds` of an import are those of the import
alone, all others count from the start of the process, with Python's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import handlers
from benchmarks import noop, noop_app
from benchmarks.report import Figure, Report, Table, at_most, below
from benchmarks.service import Service, service
from local.process import base_environment
from local.stack import ROOT

ROUNDS = 7
SECONDS = 60


@dataclass(frozen=True)
class Start:
    """`seconds`: what the process says of the step itself; `total`: from its start on."""

    seconds: float
    total: float
    megabytes: float | None = None
    modules: int | None = None


def run() -> Report:
    handlers.HANDLERS[noop.NAME] = noop.__name__
    with service(index=False) as started:
        kinds = _kinds(started)
        rounds = [{name: start() for name, start in kinds.items()} for _ in range(ROUNDS + 1)]
    found = {name: [each[name] for each in rounds[1:]] for name in kinds}
    return Report("Cold start", _figures(found), [_table(found)])


def _figures(found: Mapping[str, list[Start]]) -> list[Figure]:
    imports = _seconds(found, "import function_app") / _seconds(found, "import azure.functions")
    eager = _seconds(found, "import of everything") / _seconds(found, "import function_app")
    return [
        Figure("import function_app / import azure.functions", imports, at_most(3.5)),
        Figure("import of everything / import function_app", eager, note="what late imports save"),
        Figure(
            "first no-op message, seconds from process start",
            _total(found, "first message"),
            below(1.5),
            "the process that the Functions host starts: import, index, call, final row",
        ),
        Figure(
            "first no-op message of python -m worker, seconds from process start",
            _total(found, "first message of python -m worker"),
            note="host and functions process, message waiting in the queue",
        ),
    ]


def _table(found: Mapping[str, list[Start]]) -> Table:
    rows = {name: _row(starts) for name, starts in found.items()}
    return Table("start of a process", ("seconds", "from process start", "MB", "modules"), rows)


def _row(starts: list[Start]) -> list[float | int | None]:
    first = starts[0]
    megabytes = None if first.megabytes is None else median(one.megabytes or 0 for one in starts)
    return [
        median(one.seconds for one in starts),
        median(one.total for one in starts),
        megabytes,
        first.modules,
    ]


def _seconds(found: Mapping[str, list[Start]], name: str) -> float:
    return median(start.seconds for start in found[name])


def _total(found: Mapping[str, list[Start]], name: str) -> float:
    return median(start.total for start in found[name])


def _kinds(service: Service) -> dict[str, Callable[[], Start]]:
    root = noop_app.make(service.folder / "app")
    return {
        "import azure.functions": lambda: _started(service, "bare"),
        "import function_app": lambda: _started(service, "app"),
        "import of everything": lambda: _started(service, "everything"),
        "first request, /api/health": lambda: _started(service, "request", "/api/health"),
        "first request, /api/tasks": lambda: _started(service, "request", "/api/tasks"),
        "first message": lambda: _message(service),
        "first message of python -m worker": lambda: _worker(service, root),
    }


def _started(service: Service, *arguments: str) -> Start:
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.starting", *arguments],
        cwd=ROOT,
        env={**base_environment(), **service.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return Start(found["seconds"], found["ended"] - began, found["megabytes"], found["modules"])


def _message(service: Service) -> Start:
    """The message is in our hands, as the host has received it before it calls a function."""
    from shared.messages import from_wire

    _submitted(service)
    (received,) = service.core.queues.receive("default-tasks")
    service.core.queues.delete("default-tasks", received)
    return _started(service, "message", from_wire(received.text).decode())


def _worker(service: Service, root: Path) -> Start:
    """Its end is the time in the final row, written by the functions process: we do not see the moment."""
    task_id = _submitted(service)
    began = time.time()
    with service.worker("--app-root", str(root), "--port", "0"):
        (task,) = service.ended("default", [task_id], SECONDS)
    if task.finished_at is None:
        raise RuntimeError("A final row says when it was written.")
    seconds = task.finished_at.timestamp() - began
    return Start(seconds, seconds)


def _submitted(service: Service) -> str:
    from shared.submission import Submission, submit

    return submit(service.core, "default", Submission(noop.NAME, {})).task.task_id

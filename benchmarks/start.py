"""Cold start: how long a new process takes until it is of use, and what it holds then.

Each figure is of processes of their own, started by turns so that a busy moment hits all kinds alike; the
first round fills the caches of files and is thrown away. `seconds` of an import are those of the import
alone, all others count from the start of the process, with Python's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import noop_app
from benchmarks.report import Figure, Report, Table, at_most, below
from local import ports
from local.app import credentials
from local.process import base_environment
from local.stack import ROOT, Stack

if TYPE_CHECKING:
    from shared.core import Core

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
    with storage() as started:
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


@dataclass(frozen=True)
class Storage:
    """Azurite with queues and tables made. `environment`: of a process on it."""

    core: Core
    environment: dict[str, str]
    folder: Path


@contextmanager
def storage() -> Iterator[Storage]:
    import handlers
    from shared.core import Core
    from shared.settings import read_settings

    handlers.HANDLERS["noop"] = "benchmarks.noop"
    with tempfile.TemporaryDirectory(prefix="docmill-") as name:
        stack = Stack(Path(name, "stack"), ports.ANY)
        try:
            stack.start_azurite()
            environment = {**stack.environment(), "CLIENT_IDS": "default", "LOG_LEVEL": "WARNING"}
            environment |= credentials(environment, known={})
            with closing(Core(read_settings(environment))) as core:
                yield Storage(core, {**base_environment(), **environment}, Path(name))
        finally:
            stack.stop()


def _kinds(storage: Storage) -> dict[str, Callable[[], Start]]:
    root = noop_app.make(storage.folder / "app")
    return {
        "import azure.functions": lambda: _started(storage, "bare"),
        "import function_app": lambda: _started(storage, "app"),
        "import of everything": lambda: _started(storage, "everything"),
        "first request, /api/health": lambda: _started(storage, "request", "/api/health"),
        "first request, /api/tasks": lambda: _started(storage, "request", "/api/tasks"),
        "first message": lambda: _message(storage),
        "first message of python -m worker": lambda: _worker(storage, root),
    }


def _started(storage: Storage, *arguments: str) -> Start:
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.starting", *arguments],
        cwd=ROOT,
        env=storage.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return Start(found["seconds"], found["ended"] - began, found["megabytes"], found["modules"])


def _message(storage: Storage) -> Start:
    """The message is in our hands, as the host has received it before it calls a function."""
    from shared.messages import from_wire

    _submitted(storage)
    (received,) = storage.core.queues.receive("default-tasks")
    storage.core.queues.delete("default-tasks", received)
    return _started(storage, "message", from_wire(received.text).decode())


def _worker(storage: Storage, root: Path) -> Start:
    """Its end is the time in the final row, written by the functions process: we do not see the moment."""
    task_id = _submitted(storage)
    began = time.time()
    with _working(storage, root) as process:
        while (row := storage.core.tasks.get("default", task_id)) is None or not row.task.final:
            if process.poll() is not None or time.time() > began + SECONDS:
                raise RuntimeError("The worker did not do its first message.")
            time.sleep(0.05)
    if row.task.finished_at is None:
        raise RuntimeError("A final row says when it was written.")
    seconds = row.task.finished_at.timestamp() - began
    return Start(seconds, seconds)


@contextmanager
def _working(storage: Storage, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "worker", "--app-root", str(root), "--port", "0", "--drain-seconds", "1"]
    with subprocess.Popen(command, cwd=ROOT, env=storage.environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _submitted(storage: Storage) -> str:
    from shared.submission import Submission, submit

    return submit(storage.core, "default", Submission("noop", {})).task.task_id

"""Live progress of several tasks: bars on a terminal, a line per stage elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from cli.client import FINAL, Api, Json, OutOfReach
from cli.output import line, stderr

WATCHERS = 16
"""How many tasks are watched at once; each is one waiting request."""
SUBMITTED = "submitted"
"""The state of a file that nobody waits for any longer."""
_ENDS = FINAL | {SUBMITTED}
_BARS = 12
"""More than that do not fit a screen with anything else on it."""
_LINES = 50


class Board(Protocol):
    """Shows how far each of several files is. Rows are counted from 0."""

    def __enter__(self) -> Board: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, row: int, percent: int, message: str, state: str = "") -> None: ...


def board(names: Sequence[str], console: Console | None = None) -> Board:
    console = console or stderr()
    if console.is_terminal:
        return Bars(names, console) if len(names) <= _BARS else Crowd(names, console)
    return Lines(names, console, only_ends=len(names) > _LINES)


class Bars:
    """One bar per file."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._progress = _bars(console)
        self._rows = [self._progress.add_task(line(name), total=100, start=False) for name in names]

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, row: int, percent: int, message: str, state: str = "") -> None:
        task_id: TaskID = self._rows[row]
        self._progress.start_task(task_id)
        self._progress.update(task_id, completed=percent, message=message, state=state)
        if state in _ENDS:
            self._progress.stop_task(task_id)


class Crowd:
    """One bar for all of many files, and one for each that is under way; what failed stays on the screen."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._names = names
        self._console = console
        self._progress = _bars(console)
        self._all = self._progress.add_task("all files", total=len(names), message=f"0/{len(names):,}")
        self._active: dict[int, TaskID] = {}
        self._ended: set[int] = set()
        self._lock = Lock()

    def __enter__(self) -> Crowd:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, row: int, percent: int, message: str, state: str = "") -> None:
        with self._lock:
            if state in _ENDS:
                self._end(row, message, state)
                return
            if row not in self._active:
                self._active[row] = self._progress.add_task(line(self._names[row]), total=100)
            self._progress.update(self._active[row], completed=percent, message=message, state=state)

    def _end(self, row: int, message: str, state: str) -> None:
        if row in self._active:
            self._progress.remove_task(self._active.pop(row))
        if state in FINAL - {"succeeded"}:
            text = Text(f"{line(self._names[row])}  {line(message)}", style="red")
            self._console.print(text, soft_wrap=True)
        self._ended.add(row)
        done, total = len(self._ended), len(self._names)
        self._progress.update(self._all, completed=done, message=f"{done:,}/{total:,}")


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=40)),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        _Message(table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=console,
        expand=True,
    )


class _Message(ProgressColumn):
    """Red when the task did not succeed."""

    def render(self, task: Task) -> Text:
        state = task.fields.get("state", "")
        style = "red" if state in FINAL - {"succeeded"} else "green" if state == "succeeded" else ""
        return Text(line(task.fields.get("message", "")), style=style)


class Lines:
    """A line whenever a file enters a stage; of very many files only where each ended."""

    def __init__(self, names: Sequence[str], console: Console, *, only_ends: bool = False) -> None:
        self._only_ends = only_ends
        self._names = [line(name) for name in names]
        self._width = max(map(len, self._names), default=0)
        self._console = console
        self._last: dict[int, str] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, row: int, percent: int, message: str, state: str = "") -> None:
        """Messages that differ in their numbers only belong to one stage."""
        stage = "".join(c for c in message if not c.isdigit())
        if self._last.get(row) != stage and (state in _ENDS or not self._only_ends):
            self._last[row] = stage
            text = f"{self._names[row]:{self._width}}  {percent:3d}%  {line(message)}"
            self._console.print(Text(text), soft_wrap=True)


def follow(
    api: Api, task_ids: Mapping[int, str], shown: Board, stall: float | None = None
) -> dict[int, Json]:
    """Waits until every task is final and shows each change. Row -> task id in, row -> final Task out.

    Raises Failure, and OutOfReach when `stall` seconds bring no change to any task.
    """
    changes: SimpleQueue[tuple[int, Json | BaseException]] = SimpleQueue()
    waiting: SimpleQueue[int] = SimpleQueue()
    for row in task_ids:
        waiting.put(row)
    for _ in range(min(WATCHERS, len(task_ids))):
        # Daemons, so that Ctrl-C need not sit out the requests that wait.
        Thread(target=_watch, args=(api, task_ids, waiting, changes), daemon=True).start()
    final: dict[int, Json] = {}
    while len(final) < len(task_ids):
        try:
            row, change = changes.get(timeout=stall)
        except Empty:
            raise OutOfReach(f"No task has moved for {stall:g} s. Does the service run tasks?") from None
        if isinstance(change, BaseException):
            raise change
        percent, message = describe(change)
        shown.show(row, percent, message, change["status"])
        if change["status"] in FINAL:
            final[row] = change
    return {row: final[row] for row in task_ids}


def _watch(
    api: Api,
    task_ids: Mapping[int, str],
    waiting: SimpleQueue[int],
    changes: SimpleQueue[tuple[int, Json | BaseException]],
) -> None:
    while True:
        try:
            row = waiting.get_nowait()
        except Empty:
            return
        try:
            for task in api.watch(task_ids[row]):
                changes.put((row, task))
        except Exception as error:
            changes.put((row, error))  # raised again by the one who waits


def describe(task: Json) -> tuple[int, str]:
    """How far a Task is, in percent and in words."""
    progress = task.get("progress") or {}
    percent = int(progress.get("percent") or 0)
    error = (task.get("error") or {}).get("message")
    match task["status"]:
        case "succeeded":
            return 100, "done"
        case "failed":
            return percent, f"failed: {error}"
        case "retrying":
            return percent, f"tries again soon (attempt {task['attempt']} of {task['max_attempts']}): {error}"
        case "running" if progress.get("message"):
            return percent, str(progress["message"])
        case status:
            return percent, str(status)

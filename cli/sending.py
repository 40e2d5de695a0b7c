"""Sending files, one or thousands: at most so many in flight, and nothing twice when it is done again.

A thread takes one file from its upload to the end that was asked for, then the next. The first file goes
alone: a wrong key or a service that is away is met once, and not by all at the same time.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from cli.client import Api, Busy, Failure, Json, Unreadable
from cli.files import Source
from cli.progress import SUBMITTED, Board, describe
from cli.uploads import Uploads

T = TypeVar("T")
IN_FLIGHT = 8
BUSY_SECONDS = 900
"""How long one file waits for a service that has too much to do."""
NAMES_SHOWN = 10
_MEGABYTE = 1_000_000
_ABOUT_THE_FILE = frozenset({413, 415, 422})
"""Refusals that say nothing about the next file."""


@dataclass(frozen=True)
class Order:
    """What is to be done with every file. `wait`: until its task is final; `once`: nothing twice, also not in
    another run of the command; `in_flight`: how many files at the same time."""

    task_type: str
    webhook_url: str | None = None
    wait: bool = False
    once: bool = False
    in_flight: int = IN_FLIGHT

    def key(self, identity: str, document: Json) -> str | None:
        """The Idempotency-Key: the same in every run that orders the same. None for a new one each time.

        A document that was deleted and sent again has the same id, and another time of creation.
        """
        if not self.once:
            return None
        named = [document["document_id"], document["created_at"]]
        told = json.dumps([identity, *named, self.task_type, self.webhook_url])
        return f"docmill-{hashlib.sha256(told.encode()).hexdigest()[:40]}"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a Task as it was last seen, or why there is none."""

    task: Json | None = None
    refusal: Failure | None = None

    @property
    def reason(self) -> tuple[str, str] | None:
        """Code and message of what went wrong, if anything did."""
        if self.refusal is not None:
            return getattr(self.refusal, "code", None) or "not sent", str(self.refusal)
        task = self.task or {}
        if task.get("status") not in {"failed", "cancelled"}:
            return None
        error = task.get("error") or {"code": "cancelled", "message": "The task was cancelled."}
        return str(error["code"]), str(error["message"])


class Crew:
    """The threads that send, and by row what they have achieved."""

    def __init__(self, api: Api, uploads: Uploads, order: Order, shown: Board) -> None:
        self._api = api
        self._uploads = uploads
        self._order = order
        self._shown = shown
        self._stop = threading.Event()
        self._first = threading.Event()
        """The first file is submitted, or never will be."""
        self.outcomes: dict[int, Outcome] = {}

    def send(self, sources: Sequence[Source]) -> None:
        """All of them, or until one meets what the next would meet too."""
        rows = _Shared(enumerate(sources))
        # Daemons, so that Ctrl-C need not sit out the requests that wait.
        threads = [
            threading.Thread(target=self._work, args=(rows,), daemon=True)
            for _ in range(min(self._order.in_flight, len(sources)))
        ]
        try:
            for thread in threads:
                thread.start()
                self._first.wait()
            for thread in threads:
                thread.join()
        except BaseException:
            self._stop.set()
            raise

    def _work(self, rows: Iterator[tuple[int, Source]]) -> None:
        while not self._stop.is_set():
            found = next(rows, None)
            if found is None:
                return
            self._one(*found)
            self._first.set()

    def _one(self, row: int, source: Source) -> None:
        try:
            self.outcomes[row] = Outcome(self._task(row, source))
        except Exception as error:
            failure = error if isinstance(error, Failure) else _unforeseen(error)
            self._shown.show(row, 0, f"refused: {failure}", "failed")
            self.outcomes[row] = Outcome(self.outcomes.get(row, Outcome()).task, failure)
            if not _about_the_file(failure):
                self._stop.set()

    def _task(self, row: int, source: Source) -> Json:
        self._shown.show(row, 0, "uploading")
        document = self._patiently(row, lambda: self._uploads.put(source.path, self._report(row)))
        document_id, order = document["document_id"], self._order
        key = order.key(self._api.identity, document)
        task = self._patiently(
            row,
            lambda: self._api.submit(order.task_type, {"document_id": document_id}, order.webhook_url, key),
        )
        self.outcomes[row] = Outcome(task)
        self._first.set()
        self._shown.show(row, 0, f"submitted as {task['task_id']}", "" if order.wait else SUBMITTED)
        return self._followed(row, task) if order.wait else task

    def _followed(self, row: int, task: Json) -> Json:
        for now in self._api.watch(task["task_id"]):
            self._shown.show(row, *describe(now), now["status"])
            task = now
        return task

    def _report(self, row: int) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            told = f"uploading {done / _MEGABYTE:.1f}/{total / _MEGABYTE:.1f} MB"
            self._shown.show(row, 0, told)

        return report

    def _patiently(self, row: int, ask: Callable[[], T]) -> T:
        """As often as the service says that it is busy, after the time that it names."""

        def waits(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._shown.show(row, 0, f"waits: {error}")

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Busy),
            # A little more, each a little different: those who were sent away do not all come back at once.
            wait=_AskedFor() + tenacity.wait_random(0, 1),
            stop=tenacity.stop_after_delay(BUSY_SECONDS) | tenacity.stop_when_event_set(self._stop),
            sleep=tenacity.sleep_using_event(self._stop),
            before_sleep=waits,
            reraise=True,
        )
        return again(ask)


class _Shared(Iterator[T]):
    """An iterator that threads may share."""

    def __init__(self, inner: Iterator[T]) -> None:
        self._inner = inner
        self._lock = threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._inner)


class _AskedFor(tenacity.wait.wait_base):
    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return error.retry_after if isinstance(error, Busy) else 1.0


def _about_the_file(failure: Failure) -> bool:
    return isinstance(failure, Unreadable) or getattr(failure, "status", None) in _ABOUT_THE_FILE


def _unforeseen(error: Exception) -> Failure:
    failure = Failure(f"Unexpected {type(error).__name__}.")
    failure.__cause__ = error
    return failure


# --- the end -----------------------------------------------------------------------------------------------


def summary(sources: Sequence[Source], outcomes: dict[int, Outcome]) -> list[str]:
    """How many came to what end, then what went wrong, the most frequent first, and with which files."""
    groups: dict[str, list[int]] = {}
    messages: dict[str, str] = {}
    for row, outcome in sorted(outcomes.items()):
        if outcome.reason is not None:
            code, message = outcome.reason
            groups.setdefault(code, []).append(row)
            messages.setdefault(code, message)
    lines = [_counts(len(sources), list(outcomes.values()))]
    for code, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        names = [sources[row].name for row in rows[:NAMES_SHOWN]]
        more = f" and {len(rows) - NAMES_SHOWN:,} more" if len(rows) > NAMES_SHOWN else ""
        lines += [f"{code}, {_files(len(rows))}: {messages[code]}", f"    {', '.join(names)}{more}"]
    return lines


def _counts(total: int, outcomes: list[Outcome]) -> str:
    states = [(outcome.task or {}).get("status") for outcome in outcomes if outcome.refusal is None]
    ends = {state: states.count(state) for state in ("succeeded", "failed", "cancelled")}
    counts = {
        **ends,
        "submitted": len(states) - sum(ends.values()),
        "refused": sum(outcome.refusal is not None for outcome in outcomes),
        "not sent": total - len(outcomes),
    }
    return f"{_files(total)}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"

"""The queue path: tasks that do nothing, from the request to the final row, beside what else does as much.

Three take turns on one storage account: Docmill (its API and its worker, as `python -m worker` starts them),
the bare SDK with the same storage operations, and Celery with its queues and results there.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks.bare import Bare
from benchmarks.docmill import Docmill
from benchmarks.meter import Meter
from benchmarks.report import Figure, Report, Table, at_least, at_most
from local import ports
from local.stack import Stack

CLIENTS = ("bench-one", "bench-two")
ROUNDS, SLICE = 4, 250
WARM = 8
COUNTED = 20
POLLS = ("poll in vain", "look at a queue")
"""What happens whether there are tasks or not."""


class Contestant(Protocol):
    def run(self, count: int) -> None:
        """That many tasks, half of them for each client. Returns when all have ended."""


def run() -> Report:
    with storage() as connection:
        seconds = measured(connection)
    with storage() as connection:
        return _report(seconds, counted(connection))


@contextmanager
def storage() -> Iterator[str]:
    """An account with nothing in it: its connection string."""
    with tempfile.TemporaryDirectory(prefix="docmill-") as folder:
        stack = Stack(Path(folder), ports.ANY)
        try:
            stack.start_azurite()
            yield stack.azurite.connection_string
        finally:
            stack.stop()


def measured(connection: str) -> dict[str, list[float]]:
    """Seconds of each round, in turns whose order changes."""
    with contestants(connection) as running:
        seconds: dict[str, list[float]] = {name: [] for name in running}
        names = list(running)
        for number in range(ROUNDS):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                seconds[name].append(_timed(running[name]))
        return seconds


def _timed(contestant: Contestant) -> float:
    contestant.run(WARM)  # who finds a queue empty for a while looks seldom
    began = time.perf_counter()
    contestant.run(SLICE)
    return time.perf_counter() - began


def counted(connection: str) -> dict[str, Counter[str]]:
    """Requests of some tasks, by what they do."""
    without_timers = "--only", "queues", "--only", "http"
    with (
        Meter(connection).serving() as meter,
        contestants(meter.connection_string, *without_timers) as running,
    ):
        found = {name: meter.of(partial(one.run, COUNTED)) for name, one in running.items()}
    return {name: Counter({_kind(kind): n for kind, n in each.items()}) for name, each in found.items()}


def _kind(kind: str) -> str:
    """The bare tables lie beside Docmill's in one account."""
    return kind.replace("bare", "")


@contextmanager
def contestants(connection: str, *options: str) -> Iterator[Mapping[str, Contestant]]:
    """Each has done its first tasks. `options`: of our worker."""
    from benchmarks.celery_worker import Celery  # which only `make bench` installs

    with ExitStack() as stack:
        docmill = stack.enter_context(Docmill.started(connection, CLIENTS, *options))
        docmill.run(WARM)
        found: dict[str, Contestant] = {
            "Docmill": docmill,
            "bare SDK": stack.enter_context(Bare.on(connection, docmill.sample())),
            "Celery": stack.enter_context(Celery.started(connection)),
        }
        for one in found.values():
            one.run(WARM)
        yield found


def _report(seconds: Mapping[str, Sequence[float]], requests: Mapping[str, Counter[str]]) -> Report:
    rate = {name: SLICE * len(rounds) / sum(rounds) for name, rounds in seconds.items()}
    rounds = [f"round {number}" for number in range(1, ROUNDS + 1)]
    speed = {name: [rate[name], *(SLICE / each for each in seconds[name])] for name in seconds}
    kinds = sorted({kind for found in requests.values() for kind in found} - set(POLLS))
    rows = {kind: [found[kind] / COUNTED for found in requests.values()] for kind in kinds}
    totals = [sum(found[kind] for kind in kinds) / COUNTED for found in requests.values()]
    return Report(
        "Queue path",
        [
            Figure("queue path / bare SDK", rate["Docmill"] / rate["bare SDK"], at_least(0.8)),
            Figure(
                "queue path / Celery", rate["Docmill"] / rate["Celery"], at_least(1.2), "on the same storage"
            ),
            Figure("storage requests of a task", totals[0], at_most(10), "8 when messages come one by one"),
        ],
        [
            Table("tasks/s", ["all rounds", *rounds], speed),
            Table("storage requests of a task", list(requests), {**rows, "all": totals}),
        ],
    )

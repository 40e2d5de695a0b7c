"""Growth: what more workers, more rows and more clients cost.

Requests and entities are counted, which do not depend on the machine; tasks per second are by turns within
one run. The curves are pictures, drawn here.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import results
from benchmarks.chart import Chart, Line
from benchmarks.docmill import Docmill
from benchmarks.meter import SETTLE_SECONDS as AFTERWARDS
from benchmarks.meter import Meter, Request
from benchmarks.queue import storage
from benchmarks.report import Figure, Report, Table, Value, at_most
from benchmarks.rows import fill
from local.process import base_environment
from local.stack import ROOT
from shared import maintenance
from shared.settings import read_settings

if TYPE_CHECKING:
    from shared.core import Core

WORKERS = (1, 2, 4)
ROWS = (10, 1_000, 10_000)
CLIENTS = (1, 20, 200)
NAPS, NAP_SECONDS = 120, 0.25
PAGE = 50
ROUNDS = 5
"""Of the sweep: in so many it looks at everything of an idle client."""
SETTLE_SECONDS, SETTLE_SECONDS_EACH, IDLE_SECONDS = 5, 0.05, 8
"""Until all listeners have started and look as seldom as they may; and how long they are counted."""
POLL_SECONDS = 2
"""maxPollingInterval in host.json."""


@dataclass(frozen=True)
class Cost:
    """Of one call: requests to storage, and entities or messages in their answers."""

    requests: int
    entities: int

    @classmethod
    def of(cls, found: Sequence[Request]) -> Cost:
        return cls(len(found), sum(request.found for request in found))


@dataclass(frozen=True)
class Idle:
    """Of some clients with whom nothing goes on. `sweeps`: requests of each round. `polls`: a second."""

    functions: int
    polls: float
    sweeps: Sequence[int]


def run() -> Report:
    speeds = {number: _speed(number) for number in WORKERS}
    costs = _costs()
    idle = {number: Idle(_functions(number), _polls(number), _sweeps(number)) for number in CLIENTS}
    _draw(speeds, costs, idle)
    return Report("Growth", _figures(costs, idle), _tables(speeds, costs, idle))


def _speed(workers: int) -> dict[str, float]:
    """Tasks a second: of those that take a nap, of which a worker does a few at once, and of those that do
    nothing, which take as much processor as there is."""
    with (
        storage() as connection,
        Docmill.started(connection, ("bench-one", "bench-two"), workers=workers) as docmill,
    ):
        found = {}
        for kind, seconds, count in (("napping", NAP_SECONDS, NAPS), ("no-op", 0.0, 2 * NAPS)):
            docmill.run(16 * workers, seconds)
            began = time.perf_counter()
            docmill.run(count, seconds)
            found[kind] = count / (time.perf_counter() - began)
        return found


@contextmanager
def _metered(connection: str, clients: Sequence[str]) -> Iterator[tuple[Meter, Docmill]]:
    """One worker behind a meter; without timers, whose times nobody knows."""
    with (
        Meter(connection).serving() as meter,
        Docmill.started(meter.connection_string, clients, "--only", "queues", "--only", "http") as docmill,
    ):
        yield meter, docmill


def _costs() -> dict[int, dict[str, Cost]]:
    """By the number of tasks that a client has."""
    clients = {number: f"bench-{number}" for number in ROWS}
    with storage() as connection:
        with _metered(connection, tuple(clients.values())) as (meter, docmill):
            docmill.run(2 * len(ROWS))
            for number, client in clients.items():
                fill(connection, client, number)
            looks = {number: _looks(meter, docmill, client) for number, client in clients.items()}
        return {
            number: {**looks[number], "a round of the sweep": _sweep(connection, client)}
            for number, client in clients.items()
        }


def _looks(meter: Meter, docmill: Docmill, client: str) -> dict[str, Cost]:
    """At its tasks, by the API. What else the service reads (a key) and does (polls) is left out."""
    task = docmill.core.tasks.page(client, limit=1).items[0]
    paths = {
        "a page of the list": f"/api/tasks?limit={PAGE}",
        "a page by a status that none has": f"/api/tasks?limit={PAGE}&status=failed",
        "a look at a task": f"/api/tasks/{task.task_id}",
    }
    passed = {name: meter.during(partial(docmill.get, client, path)) for name, path in paths.items()}
    return {name: Cost.of([one for one in each if _TASKS in one.path]) for name, each in passed.items()}


_TASKS = "/tasks("
"""In the paths of requests for rows of that table."""


def _sweep(connection: str, client: str) -> Cost:
    """The dearest of some rounds."""
    with Meter(connection).serving() as meter, _core(meter.connection_string, (client,)) as core:
        maintenance.sweep(core)  # makes what is missing
        rounds = [Cost.of(meter.during(partial(maintenance.sweep, core))) for _ in range(ROUNDS)]
    return max(rounds, key=lambda cost: (cost.requests, cost.entities))


def _functions(number: int) -> int:
    """That a host indexes."""
    command = "import function_app; print(len(function_app.app.get_functions()))"
    environ = {**base_environment(), "CLIENT_IDS": ",".join(_names(number))}
    said = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=environ, check=True, capture_output=True, text=True
    )
    return int(said.stdout)


def _polls(number: int) -> float:
    with storage() as connection, _metered(connection, _names(number)) as (meter, _):
        time.sleep(SETTLE_SECONDS + SETTLE_SECONDS_EACH * number)
        seconds = IDLE_SECONDS + AFTERWARDS
        return meter.of(partial(time.sleep, IDLE_SECONDS))["poll in vain"] / seconds


def _sweeps(number: int) -> list[int]:
    with (
        storage() as connection,
        Meter(connection).serving() as meter,
        _core(meter.connection_string, _names(number)) as core,
    ):
        maintenance.sweep(core)  # makes what is missing
        return [len(meter.during(partial(maintenance.sweep, core))) for _ in range(ROUNDS)]


@contextmanager
def _core(connection: str, clients: Sequence[str]) -> Iterator[Core]:
    from shared.core import Core

    settings = {"CLIENT_IDS": ",".join(clients), "AZURE_STORAGE_CONNECTION_STRING": connection}
    with closing(Core(read_settings(settings))) as core:
        yield core


def _names(number: int) -> tuple[str, ...]:
    return tuple(f"bench-{index:03d}" for index in range(number))


def _figures(costs: Mapping[int, Mapping[str, Cost]], idle: Mapping[int, Idle]) -> list[Figure]:
    few, many = costs[ROWS[0]], costs[ROWS[-1]]
    more = [
        Figure(
            f"{name}: requests at {ROWS[-1]:,} rows / at {ROWS[0]}",
            many[name].requests / few[name].requests,
            at_most(1),
            f"{many[name].requests} requests, {many[name].entities} entities",
        )
        for name in few
    ]
    most = CLIENTS[-1]
    each = (max(idle[most].sweeps) - max(idle[1].sweeps)) / (most - 1)
    common = max(idle[1].sweeps) - each
    return [
        *more,
        Figure(
            "requests of a round of the sweep for each idle client",
            each,
            at_most(3),
            f"beside {common:.1f} for all clients together",
        ),
        Figure(
            f"polls a second of {most} idle clients / what the back-off gives",
            idle[most].polls / _expected(most),
            at_most(1.05),
        ),
    ]


def _expected(clients: int) -> float:
    """Polls a second: one for each queue and longest pause."""
    return (clients + 1) / POLL_SECONDS


def _tables(
    speeds: Mapping[int, Mapping[str, float]],
    costs: Mapping[int, Mapping[str, Cost]],
    idle: Mapping[int, Idle],
) -> list[Table]:
    kinds = list(next(iter(speeds.values())))
    by_rows: dict[str, list[Value]] = {
        f"{name}: {what}": [getattr(costs[number][name], what) for number in ROWS]
        for name in costs[ROWS[0]]
        for what in ("requests", "entities")
    }
    by_clients: dict[str, list[Value]] = {
        str(number): [one.functions, one.polls, _expected(number), max(one.sweeps), sum(one.sweeps) / ROUNDS]
        for number, one in idle.items()
    }
    columns = ["functions", "polls/s", "by back-off", "sweep, at most", "sweep, on average"]
    return [
        Table(
            "tasks/s by workers", kinds, {str(number): list(each.values()) for number, each in speeds.items()}
        ),
        Table("by rows of a client", [f"{number:,}" for number in ROWS], by_rows),
        Table("by idle clients", columns, by_clients),
    ]


def _draw(
    speeds: Mapping[int, Mapping[str, float]],
    costs: Mapping[int, Mapping[str, Cost]],
    idle: Mapping[int, Idle],
) -> None:
    kinds = list(next(iter(speeds.values())))
    workers = [Line(kind, [(number, each[kind]) for number, each in speeds.items()]) for kind in kinds]
    rows = [Line(name, [(n, costs[n][name].requests) for n in ROWS]) for name in costs[ROWS[0]]]
    sweeps = [(number, max(one.sweeps) / number) for number, one in idle.items()]
    polls = [(number, one.polls / (number + 1)) for number, one in idle.items()]
    clients = [Line("requests of a sweep", sweeps), Line("polls a second", polls)]
    results.picture("growth-workers", Chart("More workers", "workers", "tasks a second", workers).svg())
    results.picture("growth-rows", Chart("More rows", "tasks of the client", "requests", rows).svg())
    results.picture("growth-clients", Chart("More idle clients", "clients", "for each client", clients).svg())

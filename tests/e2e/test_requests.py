"""How many requests to storage a task costs, of all processes together: what Azure bills."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.docmill import Docmill
from benchmarks.growth import Cost
from benchmarks.meter import Meter
from benchmarks.rows import fill
from shared import maintenance
from shared.audience import KEPT_SECONDS

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MOST = 10
TASKS = 5
SHARED = {"look at a queue", "read one row of apikeys"}
"""What serves many tasks, beside looking who wants to hear of a submission."""


@pytest.fixture
def meter(azurite: str) -> Iterator[Meter]:
    with Meter(azurite).serving() as meter:
        yield meter


@pytest.fixture
def docmill(meter: Meter) -> Iterator[Docmill]:
    """Of a client of its own; without timers, whose requests are no task's."""
    clients = (f"requests-{secrets.token_hex(4)}",)
    parts = ("--only", "queues", "--only", "http")
    with Docmill.started(meter.connection_string, clients, *parts) as docmill:
        yield docmill


def listed() -> Counter[str]:
    """The kinds of the requests that docs/performance.md lists one by one."""
    section = PAGE.read_text().split("### The requests of one task\n", 1)[1].split("\n### ", 1)[0]
    return Counter(re.findall(r"^\| \d+ \| .*\| `([^`]+)` \|$", section, re.MULTILINE))


def counted(meter: Meter, docmill: Docmill) -> Counter[str]:
    """Without polls in vain, and without our own looks at whether the task has ended."""
    found = meter.of(partial(docmill.run, 1))
    del found["poll in vain"]
    return found


def test_each_request_of_a_task_is_listed(meter: Meter, docmill: Docmill) -> None:
    """The first one after a while costs two more, which the next ones profit from."""
    expected = listed()
    assert expected.total() <= MOST - 2

    first = counted(meter, docmill)
    assert first.pop("read one row of apikeys") == 1
    assert first.pop("look at a queue") >= 1
    assert first == expected + Counter({"list rows of webhooks": 1})

    found = Counter[str]()
    for _ in range(TASKS):
        found += counted(meter, docmill)
    for kind in SHARED:
        del found[kind]
    assert {kind: found[kind] / TASKS for kind in found} == dict(expected)
    assert KEPT_SECONDS >= 5  # or the tasks above are further apart than that


FEW, MANY, LIMIT = 40, 400, 20
SWEEPS = 10
"""After so many an idle client has been looked at in each way equally often."""


def costs(meter: Meter, docmill: Docmill, task_id: str) -> dict[str, Cost]:
    """Of looks at the client's tasks: requests to their table, and entities in the answers."""
    client = docmill.clients[0]
    looks = {
        "list": partial(docmill.get, client, f"/api/tasks?limit={LIMIT}"),
        "status": partial(docmill.get, client, f"/api/tasks/{task_id}"),
        "sweeps": lambda: [maintenance.sweep(docmill.core) for _ in range(SWEEPS)],
    }
    passed = {name: meter.during(look) for name, look in looks.items()}
    return {name: Cost.of([one for one in each if "/tasks(" in one.path]) for name, each in passed.items()}


def test_a_look_costs_the_same_however_many_tasks_there_are(
    azurite: str, meter: Meter, docmill: Docmill
) -> None:
    docmill.run(1)
    client = docmill.clients[0]
    task = docmill.core.tasks.page(client, limit=1).items[0]
    found = []
    for number in (FEW, MANY):
        fill(azurite, client, number)
        found.append(costs(meter, docmill, task.task_id))
    few, many = found
    assert few == many
    # One entity more than a page has says whether there is another. Nothing is due, so a sweep finds nothing.
    assert (many["list"], many["status"]) == (Cost(1, LIMIT + 1), Cost(1, 1))
    assert many["sweeps"].entities == 0 and many["sweeps"].requests > 0

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
from benchmarks.meter import Meter
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

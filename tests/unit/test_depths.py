"""The depth lines: what lies on the queues, told once a sweep and without noise."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from shared import dead_letters, maintenance
from shared.dead_letters import letter_of_message
from shared.depths import Depth, DepthLines, depth_of_deliveries, depth_of_tasks
from shared.errors import InvalidPayload, StorageUnavailable
from shared.logs import JsonLines, TextLines
from shared.names import DELIVERIES_QUEUE
from shared.storage.memory import MemoryTaskQueue
from shared.tasks import utc_now
from tests.services import MemoryServices, memory_services

EMPTY = Depth("acme-tasks", 0, 0, 0)
BUSY = Depth("acme-tasks", 3, 12, 1)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "shared.depths"]


def found(services: MemoryServices) -> Depth:
    return depth_of_tasks(services.queues, services.dead_letters, "acme")


def test_what_lies_on_a_queue() -> None:
    services = memory_services()
    assert found(services) == EMPTY

    services.queues.put("acme-tasks", b"one")
    lying = services.queues._queues["acme-tasks"][0]
    object.__setattr__(lying.message, "inserted_at", utc_now() - timedelta(seconds=90))
    letter = letter_of_message("acme", b"x", InvalidPayload(), "m1", None)
    dead_letters.record(services, letter)
    depth = found(services)
    assert (depth.depth, depth.dead_letters) == (1, 1) and 90 <= depth.oldest_seconds < 100

    services.queues.receive("acme-tasks")  # it is being run: it counts, and waits no more
    assert (found(services).depth, found(services).oldest_seconds) == (1, 0)
    assert depth_of_deliveries(services.queues) == Depth(DELIVERIES_QUEUE, 0, 0, 0)


def test_an_empty_queue_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = DepthLines()
    for depth in (EMPTY, EMPTY, BUSY, BUSY, EMPTY, EMPTY):
        told.tell(depth)
    empty, busy = (
        "Queue acme-tasks: depth 0, oldest 0 s, dead letters 0.",
        "Queue acme-tasks: depth 3, oldest 12 s, dead letters 1.",
    )
    assert lines(caplog) == [empty, busy, busy, empty]


def test_a_letter_alone_is_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = DepthLines()
    for _ in range(2):
        told.tell(Depth("acme-tasks", 0, 0, 1))
    assert lines(caplog) == ["Queue acme-tasks: depth 0, oldest 0 s, dead letters 1."] * 2


def test_the_numbers_are_members_of_the_json_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    DepthLines().tell(BUSY)
    (record,) = caplog.records
    told = json.loads(JsonLines().format(record))
    assert {name: told[name] for name in vars(BUSY)} == vars(BUSY)
    assert TextLines().format(record).endswith("dead letters 1.")


class Asked(MemoryTaskQueue):
    """Counts what it is asked, and fails for one queue."""

    def __init__(self, failing: str = "") -> None:
        super().__init__()
        self.failing = failing
        self.asked: list[str] = []

    def depth(self, queue: str) -> int:
        self.asked.append(queue)
        if queue == self.failing:
            raise StorageUnavailable
        return super().depth(queue)

    def oldest(self, queue: str) -> None:
        self.asked.append(queue)


def test_a_sweep_tells_of_every_queue(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(maintenance, "_depths", DepthLines())
    services = memory_services()
    queues = services.queues = Asked()
    maintenance.sweep(services)
    names = ["acme-tasks", "beta-tasks", DELIVERIES_QUEUE]
    assert sorted(line.split()[1].rstrip(":") for line in lines(caplog)) == names
    assert sorted(queues.asked) == names  # nothing lies there, so nobody asks how long


def test_one_queue_out_of_reach_hides_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(maintenance, "_depths", DepthLines())
    services = memory_services()
    services.queues = Asked(failing="acme-tasks")
    maintenance.sweep(services)
    assert sorted(line.split()[1] for line in lines(caplog)) == ["beta-tasks:", f"{DELIVERIES_QUEUE}:"]

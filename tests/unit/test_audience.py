"""Who seems to want an event: that decides when it is looked at, never whether."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from shared import maintenance, runner, webhooks
from shared.audience import KEPT_SECONDS, Audience
from shared.errors import StorageUnavailable
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE
from shared.submission import Submission, submit
from shared.tasks import Task
from shared.webhooks import Wish
from tests.services import MemoryServices, memory_services, registered

URL = "https://hooks.example.com/in"


@pytest.fixture
def services() -> Iterator[MemoryServices]:
    with registered("scripted", "tests.scripted"):
        yield memory_services()


def counted(services: MemoryServices) -> list[str]:
    """Fills with the clients whose webhooks are read from now on."""
    reads: list[str] = []
    read = services.subscriptions.of_client

    def of_client(client_id: str) -> object:
        reads.append(client_id)
        return read(client_id)

    services.subscriptions.of_client = of_client  # type: ignore[method-assign,assignment]
    return reads


def work(services: MemoryServices) -> None:
    for message in services.queues.receive("acme-tasks"):
        runner.run(services, "acme", from_wire(message.text), message_id=message.id)
        services.queues.delete("acme-tasks", message)


def events(services: MemoryServices, task: Task) -> list[str]:
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    return [event.type for event in row.task.events]


def told(services: MemoryServices, task: Task) -> list[str]:
    found = services.deliveries.of_task("acme", task.task_id, limit=200).items
    return [one.type for one in sorted(found, key=lambda one: one.sequence)]


def test_what_was_seen_is_known_for_a_while() -> None:
    now = [0.0]
    audience = Audience(lambda: now[0])
    assert audience.wants("acme", "task.queued") is None
    audience.saw("acme", [])
    assert audience.wants("acme", "task.queued") is False
    assert audience.wants("beta", "task.queued") is None
    now[0] += KEPT_SECONDS
    assert audience.wants("acme", "task.queued") is None


def test_who_wanted_something_is_taken_to_want_it_until_somebody_looks(services: MemoryServices) -> None:
    now = [0.0]
    audience = Audience(lambda: now[0])
    webhook, _ = webhooks.create(services, "acme", Wish(url=URL, event_types=("task.failed",)))
    audience.saw("acme", [webhook])
    now[0] += 100 * KEPT_SECONDS
    assert audience.wants("acme", "task.failed") is True
    assert audience.wants("acme", "task.queued") is None
    audience.forget("acme")
    assert audience.wants("acme", "task.failed") is None


def test_a_task_that_nobody_hears_of_costs_one_look_at_its_end(services: MemoryServices) -> None:
    submit(services, "acme", Submission("scripted", {}))  # it is known now
    reads = counted(services)
    task = submit(services, "acme", Submission("scripted", {})).task
    assert (reads, events(services, task)) == ([], ["task.queued"])
    work(services)
    assert reads == ["acme"] * 2  # two tasks
    assert events(services, task) == told(services, task) == []


def test_a_webhook_that_another_process_made_hears_of_everything(services: MemoryServices) -> None:
    submit(services, "acme", Submission("scripted", {}))
    known = services.audience
    webhooks.create(services, "acme", Wish(url=URL, event_types=("*",)))
    services.audience = known
    known.saw("acme", [])  # as it was before
    task = submit(services, "acme", Submission("scripted", {})).task
    assert told(services, task) == []
    work(services)
    assert told(services, task) == ["task.queued", "task.started", "task.succeeded"]


def test_one_that_this_process_knows_hears_at_once(services: MemoryServices) -> None:
    webhooks.create(services, "acme", Wish(url=URL, event_types=("*",)))
    task = submit(services, "acme", Submission("scripted", {})).task
    assert told(services, task) == ["task.queued"] and events(services, task) == []


def test_a_task_that_waits_long_is_told_of_by_the_sweep(services: MemoryServices) -> None:
    services.audience.saw("acme", [])
    task = submit(services, "acme", Submission("scripted", {})).task
    webhooks.create(services, "acme", Wish(url=URL, event_types=("*",)))
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    services.tasks.save(row, row.task.model_copy(update={"check_at": row.task.created_at}))
    maintenance.sweep(services)
    assert told(services, task) == ["task.queued"] and events(services, task) == []


def test_a_task_that_runs_long_is_told_of_before_its_end(services: MemoryServices) -> None:
    """By the first heartbeat, whose next write clears it; the end finds nothing left of it."""
    services.audience.saw("acme", [])
    task = submit(services, "acme", Submission("scripted", {"seconds": 1.5})).task
    webhooks.create(services, "acme", Wish(url=URL, event_types=("*",)))
    services.audience.saw("acme", [])
    seen: list[tuple[list[str], list[str]]] = []
    touch = services.tasks.touch

    def touched(row: object, after: Task) -> object:
        written = touch(row, after)  # type: ignore[arg-type]
        seen.append((told(services, task), events(services, task)))
        return written

    services.tasks.touch = touched  # type: ignore[method-assign,assignment]
    work(services)
    assert (["task.queued", "task.started"], []) in seen
    assert told(services, task) == ["task.queued", "task.started", "task.succeeded"]
    assert len(services.queues.receive(DELIVERIES_QUEUE)) == 3


def test_an_outage_at_the_first_heartbeat_is_made_good(services: MemoryServices) -> None:
    webhooks.create(services, "acme", Wish(url=URL, event_types=("*",)))
    services.audience.saw("acme", [])
    task = submit(services, "acme", Submission("scripted", {"seconds": 1.5})).task
    add, broken = services.deliveries.add, time.monotonic() + 0.9

    def adding(delivery: object) -> object:
        if time.monotonic() < broken:
            raise StorageUnavailable
        return add(delivery)  # type: ignore[arg-type]

    services.deliveries.add = adding  # type: ignore[method-assign,assignment]
    work(services)
    assert told(services, task) == ["task.queued", "task.started", "task.succeeded"]
    assert events(services, task) == []

"""What a round of the sweep looks at, by whether anything goes on with a client."""

from __future__ import annotations

from collections import Counter

from shared import maintenance
from shared.rounds import Rounds
from shared.submission import Submission, submit
from tests.services import memory_services, registered

THINGS = ("a", "b", "c")


def test_an_idle_client_gets_one_thing_after_the_other() -> None:
    rounds = Rounds()
    seen = [rounds.of("acme", THINGS, busy=False) for _ in range(6)]
    assert {len(things) for things in seen} == {1}
    assert Counter(thing for things in seen for thing in things) == dict.fromkeys(THINGS, 2)


def test_a_process_that_lives_for_one_round_neglects_nothing() -> None:
    first = {Rounds().of("acme", THINGS, busy=False) for _ in range(200)}
    assert first == {("a",), ("b",), ("c",)}


def test_a_busy_one_gets_everything_and_once_more_at_the_end() -> None:
    rounds = Rounds()
    assert rounds.of("acme", THINGS, busy=True) == THINGS
    rounds.saw("acme", busy=True)
    assert rounds.of("acme", THINGS, busy=False) == THINGS
    assert len(rounds.of("beta", THINGS, busy=False)) == 1
    rounds.saw("acme", busy=False)
    assert len(rounds.of("acme", THINGS, busy=False)) == 1


def test_the_sweep_of_an_idle_client_is_two_looks_or_three() -> None:
    services, looks = memory_services(), Counter[str]()
    services.rounds = Rounds()
    for store in (services.tasks, services.queues, services.deliveries, services.dead_letters):
        for name in ("due", "expiring", "receive", "depth", "oldest", "overdue", "expire", "count_open"):
            if hasattr(store, name):
                setattr(store, name, _counting(looks, name, getattr(store, name)))
    for _ in range(5):
        before = looks.total()
        maintenance.sweep(services)
        assert looks.total() - before <= 3 * len(services.settings.client_ids) + 1
    clients = len(services.settings.client_ids)
    assert looks["due"] == 5 * clients
    assert looks["overdue"] == looks["expire"] == looks["count_open"] == looks["expiring"] == clients


def test_a_client_with_tasks_gets_everything() -> None:
    services = memory_services()
    services.rounds = Rounds()
    with registered("scripted", "tests.scripted"):
        task = submit(services, "acme", Submission("scripted", {})).task
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    services.tasks.save(row, row.task.model_copy(update={"check_at": row.task.created_at}))
    looks = Counter[str]()
    for name in ("overdue", "expire"):
        setattr(services.deliveries, name, _counting(looks, name, getattr(services.deliveries, name)))
    maintenance.sweep(services)
    assert looks["overdue"] >= 1 and looks["expire"] >= 1


def _counting(looks: Counter[str], name: str, method: object) -> object:
    def call(*arguments: object, **named: object) -> object:
        looks[name] += 1
        return method(*arguments, **named)  # type: ignore[operator]

    return call

"""Two workers on one account share the work, and one that is told to stop in the middle loses nothing."""

from __future__ import annotations

import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import handlers
from local.stack import Stack
from shared.core import Core
from shared.names import tasks_queue
from shared.settings import read_settings
from shared.submission import Submission, submit
from shared.tasks import Task
from tests.e2e import napping
from tests.e2e.field import started
from tests.e2e.post_office import wait

TASKS = 200
WORKER = "tests.e2e.napping_worker"


@pytest.fixture
def core(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    monkeypatch.setitem(handlers.HANDLERS, napping.TASK_TYPE, napping.__name__)
    mark = secrets.token_hex(4)
    clients = ",".join(f"{name}-{mark}" for name in ("north", "east", "south"))
    core = Core(read_settings({**stack.environment(), "CLIENT_IDS": clients}))
    core.prepare()
    yield core
    core.close()


def test_two_workers_share_200_tasks_of_three_clients(core: Core, stack: Stack, tmp_path: Path) -> None:
    naps = tmp_path / "naps"
    naps.touch()
    clients = core.settings.client_ids
    environment = {**stack.environment(), "CLIENT_IDS": ",".join(clients), "NAPS_FILE": str(naps)}

    def submitted(number: int) -> Task:
        return submit(core, clients[number % len(clients)], Submission(napping.TASK_TYPE, {})).task

    with started(WORKER, "queues", environment) as first, started(WORKER, "queues", environment) as second:
        with ThreadPoolExecutor(4) as pool:
            tasks = list(pool.map(submitted, range(TASKS)))
        middle = wait(lambda: who(naps), lambda found: len(found) == 2 and sum(found.values()) > TASKS / 4)
        assert sum(middle.values()) < TASKS
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
        of_first = who(naps)[first.pid]
        wait(lambda: len(naps.read_text().splitlines()), lambda done: done >= TASKS)
        wait(
            lambda: [core.queues.depth(tasks_queue(client)) for client in clients],
            lambda found: not any(found),
        )
        assert who(naps)[first.pid] == of_first > 0
        assert who(naps)[second.pid] > middle[second.pid]
    done = [row.task for task in tasks if (row := core.tasks.get(task.client_id, task.task_id))]
    assert Counter((str(task.status), task.attempt) for task in done) == {("succeeded", 1): TASKS}
    assert sorted(line.split()[0] for line in naps.read_text().splitlines()) == sorted(
        task.task_id for task in tasks
    )


def who(naps: Path) -> Counter[int]:
    """How many tasks each worker has done."""
    return Counter(int(line.split()[1]) for line in naps.read_text().splitlines())

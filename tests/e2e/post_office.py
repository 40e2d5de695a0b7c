"""A storage account of its own, where workers deliver webhooks and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from local import ports
from local.stack import Stack
from shared import webhooks
from shared.cancellation import cancel
from shared.core import Core
from shared.deliveries import Delivery
from shared.names import DELIVERIES_QUEUE
from shared.settings import read_settings
from shared.submission import Submission, submit
from shared.subscriptions import Receiver, Subscription
from shared.tasks import Task
from shared.webhooks import Wish
from tests.conftest import data_directory
from tests.e2e.field import Process, started

T = TypeVar("T")


@dataclass
class PostOffice:
    """`environment`: of the workers. Nobody serves the queues of tasks, so a task waits until it is
    cancelled, which makes two events: task.queued, task.cancelled."""

    environment: dict[str, str]
    core: Core
    log: Path

    @contextmanager
    def worker(self, module: str = "worker", **more: str) -> Iterator[Process]:
        environment = {**self.environment, **more}
        with self.log.open("ab") as log, started(module, "queues", environment, log) as process:
            yield process

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def webhook(self, client: str, url: str, *event_types: str) -> tuple[Subscription, str]:
        """With its secret."""
        return webhooks.create(self.core, client, Wish(url=url, event_types=event_types or ("task.*",)))

    def cancelled(self, client: str, url: str | None = None) -> Task:
        """A task that has come to its end, and has told of it."""
        wish = Submission("ingestion", {"document_id": "doc-of-nobody"}, webhook_url=url)
        return cancel(self.core, client, submit(self.core, client, wish).task.task_id)

    def all_cancelled(self, wishes: Sequence[tuple[str, str | None]]) -> list[Task]:
        """One for each client and URL, some at once."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda wish: self.cancelled(*wish), wishes))

    def task(self, task: Task) -> Task:
        row = self.core.tasks.get(task.client_id, task.task_id)
        assert row is not None
        return row.task

    def of_webhook(self, webhook: Subscription) -> list[Delivery]:
        return self.core.deliveries.of_webhook(webhook.client_id, webhook.webhook_id, limit=1000).items

    def of_task(self, task: Task) -> list[Delivery]:
        return self.core.deliveries.of_task(task.client_id, task.task_id, limit=1000).items

    def receiver(self, client: str, key: str) -> Receiver:
        stored = self.core.receivers.get(client, key)
        return stored.value if stored else Receiver(key=key)

    def webhook_now(self, webhook: Subscription) -> Subscription:
        return webhooks.find(self.core, webhook.client_id, webhook.webhook_id)

    def quiet(self) -> None:
        """Nothing lies on the queue any more, also nothing that is under way."""
        wait(lambda: self.core.queues.depth(DELIVERIES_QUEUE), lambda depth: depth == 0, 120)


@contextmanager
def post_office(*clients: str, **settings: str) -> Iterator[PostOffice]:
    with data_directory() as directory:
        stack = Stack(directory, ports.ANY)
        try:
            stack.start_azurite()
            environment = {
                **stack.environment(),
                "CLIENT_IDS": ",".join(clients),
                "TASK_TRIGGER_CLIENTS": "",
                "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.3",
                **settings,
            }
            core = Core(read_settings(environment))
            core.prepare()
            yield PostOffice(environment, core, directory / "worker.log")
            core.close()
        finally:
            stack.stop()


def wait(look: Callable[[], T], good: Callable[[T], object], seconds: float = 60) -> T:
    until = time.monotonic() + seconds
    while not good(seen := look()):
        assert time.monotonic() < until, f"nothing happened in time: {seen}"
        time.sleep(0.1)
    return seen

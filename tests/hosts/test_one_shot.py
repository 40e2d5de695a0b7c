"""`TASK_DATA`: processes of one task each, on an Azurite of their own, so that nobody else delivers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local import ports
from local.stack import Stack
from shared.cancellation import cancel
from shared.core import Core
from shared.deliveries import Delivery
from shared.names import DELIVERIES_QUEUE, tasks_queue
from shared.settings import read_settings
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, new_task_id
from tests.conftest import data_directory
from tests.receivers import Receiver, answering, receiving, scripted
from tests.services import SECRETS_KEY, registered

ROOT = Path(__file__).parents[2]
TOKEN = "the-secret-of-the-url"
SECONDS = 60
"""Far more than any of these processes takes, and far less than the work that some of them have to do."""
LONG = 150
Message = dict[str, Any]


@dataclass
class Shot:
    """A process with one task."""

    process: subprocess.Popen[str]

    def ended(self) -> tuple[int, str]:
        """Its exit status and what it said."""
        try:
            _, said = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert TOKEN not in said
        return self.process.returncode, said


@dataclass
class Bench:
    """Where such processes run. `environment`: their settings."""

    client: str
    environment: dict[str, str]
    core: Core
    receiver: Receiver

    @property
    def url(self) -> str:
        return self.receiver.url(f"/hook?token={TOKEN}")

    def message(self, **payload: object) -> Message:
        return {
            "task_id": new_task_id(),
            "task_type": "scripted",
            "client_id": self.client,
            "payload": payload,
            "webhook_url": self.url,
        }

    def start(self, data: str | Message, **settings: str) -> Shot:
        text = data if isinstance(data, str) else json.dumps(data)
        environment = {**self.environment, **settings, "TASK_DATA": text, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "tests.hosts.one_shot_worker"]
        return Shot(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))

    def run(self, data: str | Message, **settings: str) -> tuple[int, str]:
        return self.start(data, **settings).ended()

    def runs(self, message: Message) -> None:
        """Returns once it does."""
        self.soon(lambda: (row := self.core.tasks.get(self.client, message["task_id"])) and row.task.attempt)

    def soon(self, true: Callable[[], object]) -> None:
        until = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < until
            time.sleep(0.05)

    def task(self, message: Message) -> Task:
        row = self.core.tasks.get(self.client, message["task_id"])
        assert row is not None
        return row.task

    def told(self) -> list[str]:
        """Types of the webhooks that came."""
        return [json.loads(body)["type"] for _, _, body in self.receiver.seen]

    def delivery(self, message: Message) -> Delivery:
        (one,) = self.core.deliveries.of_task(self.client, message["task_id"]).items
        return one

    @property
    def queued(self) -> int:
        return self.core.queues.depth(tasks_queue(self.client))


@pytest.fixture(scope="module")
def connection() -> Iterator[str]:
    with data_directory() as data:
        stack = Stack(data, ports.ANY)
        stack.start_azurite()
        yield stack.azurite.connection_string
        stack.stop()


@pytest.fixture
def bench(connection: str) -> Iterator[Bench]:
    """For a client of its own, for whom nothing was prepared."""
    client = f"shot-{secrets.token_hex(4)}"
    environment = {
        "AZURE_STORAGE_CONNECTION_STRING": connection,
        "CLIENT_IDS": client,
        "SUPABASE_URL": "http://127.0.0.1:9",
        "SUPABASE_KEY": "nothing",
        "SECRETS_KEY": SECRETS_KEY,
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOW_PRIVATE_NETWORKS": "true",
    }
    core = Core(read_settings(environment))
    with registered("scripted", "tests.scripted"), receiving() as receiver:
        yield Bench(client, environment, core, receiver)
    core.close()


def test_what_lay_on_the_queue_is_run(bench: Bench) -> None:
    """As a Logic App does it: take the message from the queue, pass its text through, delete it."""
    bench.core.prepare()
    task = submit(bench.core, bench.client, Submission("scripted", {}, bench.url)).task
    (received,) = bench.core.queues.receive(tasks_queue(bench.client))
    bench.core.queues.delete(tasks_queue(bench.client), received)
    status, said = bench.run(received.text)
    assert status == 0, said
    done = bench.task({"task_id": task.task_id})
    assert done.status is TaskStatus.SUCCEEDED and done.result_blob is not None
    assert json.loads(bench.core.blobs.read(done.result_blob)) == {"attempt": 1}
    assert bench.told() == ["task.succeeded"]
    assert done.webhook is not None and done.webhook.status == "delivered"
    assert "The task has ended: succeeded." in said and "Docmill worker" not in said
    assert bench.queued == 0

    status, said = bench.run(received.text)
    assert status == 0 and "Nothing was done: the task had ended before, as succeeded." in said
    assert len(bench.told()) == 1


def test_failures(bench: Bench) -> None:
    final, again, never = (
        bench.message(errors=[name]) for name in ("DocumentCorrupt", *["IndexUnavailable"] * 2)
    )
    shots = [bench.start(final), bench.start(again), bench.start(never, TASK_DATA_RETRY="never")]
    ended = [shot.ended() for shot in shots]
    assert [status for status, _ in ended] == [1, 1, 1]
    states = [(task.status, task.dead_lettered) for task in map(bench.task, (final, again, never))]
    assert states == [("failed", False), ("retrying", False), ("failed", True)]
    assert bench.told() == ["task.failed", "task.failed"]
    assert bench.queued == 1
    assert "The task is retrying: its message is on the queue" in ended[1][1]


def test_a_webhook_that_fails_is_left_to_the_queue(bench: Bench) -> None:
    bench.receiver.status = 500
    before = bench.core.queues.depth(DELIVERIES_QUEUE)
    message = bench.message()
    status, said = bench.run(message)
    assert status == 0, said
    delivery = bench.delivery(message)
    assert (delivery.status, delivery.made, len(bench.receiver.seen)) == ("pending", 1, 1)
    assert delivery.next_attempt_at is not None
    assert bench.core.queues.depth(DELIVERIES_QUEUE) == before + 2  # the first attempt's, and the next one's


def test_the_same_task_twice_at_once(bench: Bench) -> None:
    message = bench.message(seconds=LONG)
    shots = [bench.start(message), bench.start(message)]
    bench.soon(lambda: any(shot.process.poll() is not None for shot in shots))
    loser, winner = sorted(shots, key=lambda shot: shot.process.poll() is None)
    status, said = loser.ended()
    assert status == 1 and "Nothing was done: another worker has the task." in said
    assert winner.process.poll() is None
    cancel(bench.core, bench.client, message["task_id"])
    assert winner.ended()[0] == 1
    assert (bench.task(message).status, bench.task(message).attempt) == ("cancelled", 1)
    assert bench.told() == ["task.cancelled"]


def test_sigterm_in_the_middle(bench: Bench) -> None:
    """Of a task with checkpoints, and of one in a call that does not end, with no attempt to come."""
    willing, stubborn = bench.message(seconds=LONG), bench.message(stubborn=LONG)
    shots = [bench.start(willing), bench.start(stubborn, TASK_DATA_RETRY="never")]
    for shot, message in zip(shots, (willing, stubborn), strict=True):
        bench.runs(message)
        shot.process.send_signal(signal.SIGTERM)
    assert [shot.ended()[0] for shot in shots] == [1, 1]
    tasks = [bench.task(message) for message in (willing, stubborn)]
    assert [(task.status, task.owner, task.error and task.error.code) for task in tasks] == [
        ("retrying", None, "worker_stopped"),
        ("failed", None, "worker_stopped"),
    ]
    assert bench.told() == ["task.failed"] and bench.queued == 1


def test_a_second_sigterm_ends_it_at_once(bench: Bench) -> None:
    """Also while a receiver does not answer: the delivery is made from the queue."""
    message = bench.message()
    with scripted(answering(b"")) as port:
        shot = bench.start({**message, "webhook_url": f"http://127.0.0.1:{port}/hook?token={TOKEN}"})
        bench.runs(message)
        bench.soon(lambda: bench.task(message).final)
        shot.process.send_signal(signal.SIGTERM)
        time.sleep(1)  # one that comes sooner is taken for the same
        shot.process.send_signal(signal.SIGTERM)
        status, said = shot.ended()
    assert status == 1 and "did not end in time" in said
    assert bench.task(message).status is TaskStatus.SUCCEEDED
    delivery = bench.delivery(message)
    assert delivery.pending and delivery.made == 0


def test_time_is_up(bench: Bench) -> None:
    """Whether or not it is noticed, with the shorter of the two settings."""
    willing, stubborn = bench.message(seconds=LONG), bench.message(stubborn=LONG)
    shots = [
        bench.start(willing, WORKER_TASK_TIMEOUT="1"),
        bench.start(stubborn, TASK_TIMEOUT_SECONDS="1", TASK_DATA_RETRY="never"),
    ]
    assert [shot.ended()[0] for shot in shots] == [1, 1]
    tasks = [bench.task(message) for message in (willing, stubborn)]
    assert [(task.status, task.error and task.error.code) for task in tasks] == [
        ("retrying", "timeout"),
        ("failed", "timeout"),
    ]
    assert bench.told() == ["task.failed"] and bench.queued == 1


def test_what_cannot_be_used(bench: Bench) -> None:
    good = json.dumps({"task_type": "scripted", "payload": {}})
    wrong = json.dumps(bench.message(surprise=1))
    cases: list[tuple[str, dict[str, str], str]] = [
        ("hello", {}, "TASK_DATA: The message is not UTF-8 JSON. It is kept as a dead letter"),
        (wrong, {}, "TASK_DATA: The payload is not what this task type needs: surprise"),
        (good, {"CLIENT_IDS": "one,two"}, "TASK_DATA: it names no client_id"),
        (good, {"AZURE_STORAGE_CONNECTION_STRING": ""}, "AZURE_STORAGE_CONNECTION_STRING"),
        (good, {"SUPABASE_URL": ""}, "SUPABASE_URL: is not set"),
    ]
    shots = [(bench.start(data, **settings), words) for data, settings, words in cases]
    for shot, words in shots:
        status, said = shot.ended()
        assert status == 2 and words in said.splitlines()[-1], said
        assert "Traceback" not in said
    letters = bench.core.dead_letters.page(bench.client).items
    assert [letter.reason for letter in letters] == ["invalid_message"] * 2

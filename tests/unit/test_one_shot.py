"""One task in a process of its own, over stores in memory: outcomes, webhooks, stops, what cannot be used."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import delivery, gate, runner, webhooks
from shared.cancellation import cancel
from shared.deliveries import Delivery
from shared.errors import StorageUnavailable
from shared.messages import TaskMessage, from_wire
from shared.names import DELIVERIES_QUEUE
from shared.ports import Sent
from shared.subscriptions import origin_key
from shared.tasks import Task, TaskStatus, utc_now
from shared.webhooks import Wish
from tests.services import MemoryServices, memory_services, registered
from worker import one_shot
from worker.__main__ import main
from worker.errors import StartError
from worker.one_shot import OVERTIME_SECONDS, Late, Order, Watch, order_of

TASK = "task-of-its-own"
URL = "https://example.com/hook?token=secret"
OTHER_URL = "https://other.example.com/hook"
QUEUE = "acme-tasks"


@pytest.fixture(autouse=True)
def scripted() -> Iterator[None]:
    with registered("scripted", "tests.scripted"):
        yield


@pytest.fixture
def services() -> MemoryServices:
    return memory_services({"TASK_LEASE_SECONDS": "4"})


def order(webhook_url: str | None = URL, task_type: str = "scripted", **payload: object) -> Order:
    body = {"task_type": task_type, "task_id": TASK, "payload": payload, "webhook_url": webhook_url}
    return Order("acme", json.dumps(body).encode())


def done(services: MemoryServices, it: Order, watch: Watch | None = None, *, last: bool = False) -> int:
    return one_shot.run(services, it, watch or Watch(60), last=last)


def task_of(services: MemoryServices) -> Task:
    row = services.tasks.get("acme", TASK)
    assert row is not None
    return row.task


def deliveries(services: MemoryServices) -> list[Delivery]:
    return services.deliveries.of_task("acme", TASK, limit=200).items


def told(services: MemoryServices) -> list[str]:
    return [json.loads(body)["type"] for _, body, _ in services.sender.sent]


def soon(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_task_succeeds_and_its_webhooks_are_sent_at_once(services: MemoryServices) -> None:
    webhooks.create(services, "acme", Wish(url=OTHER_URL))
    assert done(services, order()) == 0
    task = task_of(services)
    assert task.status is TaskStatus.SUCCEEDED and not task.needs_attention
    assert task.webhook is not None and task.webhook.status == "delivered"
    assert {url for url, _, _ in services.sender.sent} == {URL, OTHER_URL}
    assert told(services) == ["task.succeeded", "task.succeeded"]
    assert {(one.status, one.made) for one in deliveries(services)} == {("delivered", 1)}


def test_the_queue_does_not_send_again_what_was_sent_here(services: MemoryServices) -> None:
    done(services, order())
    for received in services.queues.receive(DELIVERIES_QUEUE, 10):
        delivery.deliver(services, from_wire(received.text))
        services.queues.delete(DELIVERIES_QUEUE, received)
    assert len(services.sender.sent) == 1
    assert services.queues.depth(DELIVERIES_QUEUE) == 0


def test_the_next_attempt_of_a_webhook_that_failed_lies_on_the_queue(services: MemoryServices) -> None:
    services.sender.answers = [Sent(500)]
    assert done(services, order()) == 0
    (one,) = deliveries(services)
    assert (one.status, one.made) == ("pending", 1)
    assert services.queues.depth(DELIVERIES_QUEUE) == 2  # that of the first attempt, which is dropped, too


def test_a_webhook_whose_receiver_is_busy_is_left_to_the_queue(
    services: MemoryServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_shot, "BUSY_SECONDS", 0.1)
    gate.take(services, "acme", origin_key(URL))
    assert done(services, order()) == 0
    assert services.sender.sent == []
    assert services.queues.depth(DELIVERIES_QUEUE) == 1
    assert deliveries(services)[0].pending


def test_a_webhook_waits_for_the_one_before_it(services: MemoryServices) -> None:
    held = gate.take(services, "acme", origin_key(URL))
    timer = threading.Timer(0.6, lambda: gate.release(services, "acme", held, lambda receiver: receiver))
    timer.start()
    assert done(services, order()) == 0
    timer.join()
    assert told(services) == ["task.succeeded"]


def test_only_the_end_is_told_here(services: MemoryServices) -> None:
    webhooks.create(services, "acme", Wish(url=OTHER_URL, event_types=("task.*",)))
    assert done(services, order(webhook_url=None)) == 0
    assert told(services) == ["task.succeeded"]
    waiting = {one.type for one in deliveries(services) if one.pending}
    assert waiting == {"task.queued", "task.started"}


@pytest.mark.parametrize("last", [False, True])
def test_a_final_failure(services: MemoryServices, last: bool) -> None:
    assert done(services, order(errors=["DocumentCorrupt"]), last=last) == 1
    task = task_of(services)
    assert task.status is TaskStatus.FAILED and not task.dead_lettered
    assert told(services) == ["task.failed"]
    assert services.queues.depth(QUEUE) == 0


def test_a_failure_that_may_pass_goes_back_to_the_queue(services: MemoryServices) -> None:
    assert done(services, order(errors=["ModelUnavailable"])) == 1
    task = task_of(services)
    assert (task.status, task.seq, task.attempt) == (TaskStatus.RETRYING, 2, 1)
    assert services.queues.depth(QUEUE) == 1
    assert told(services) == []


def test_the_message_from_the_queue_is_the_next_attempt(services: MemoryServices) -> None:
    done(services, order(errors=["ModelUnavailable"]))
    row = services.tasks.get("acme", TASK)
    assert row is not None
    services.tasks.save(row, row.task.model_copy(update={"next_attempt_at": utc_now()}))
    services.queues._queues[QUEUE][0].visible_at = 0.0
    (received,) = services.queues.receive(QUEUE, 1)
    again = order_of(received.text, ("acme", "beta"))
    assert TaskMessage.decode(again.body).seq == 2
    assert done(services, again) == 0
    assert task_of(services).attempt == 2


def test_never_makes_it_final_with_a_dead_letter_that_can_be_retried(services: MemoryServices) -> None:
    assert done(services, order(errors=["ModelUnavailable"]), last=True) == 1
    task = task_of(services)
    assert task.status is TaskStatus.FAILED and task.dead_lettered and task.attempt == 1
    assert task.error is not None and task.error.code == "model_unavailable"
    (letter,) = services.dead_letters.page("acme").items
    assert (letter.reason, letter.attempts) == ("out_of_attempts", 1)
    assert told(services) == ["task.failed"]
    assert services.queues.depth(QUEUE) == 0


def test_the_last_attempt_is_the_last_one_without_never(services: MemoryServices) -> None:
    services = memory_services({"TASK_MAX_ATTEMPTS": "1"})
    assert done(services, order(errors=["ModelUnavailable"])) == 1
    assert task_of(services).status is TaskStatus.FAILED
    assert told(services) == ["task.failed"]


@pytest.mark.parametrize(
    ("payload", "status"), [({}, 0), ({"errors": ["DocumentCorrupt"]}, 1)], ids=["succeeded", "failed"]
)
def test_a_task_that_has_ended_is_not_run_again(
    services: MemoryServices, payload: dict[str, Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    done(services, order(**payload))
    before = services.tasks.get("acme", TASK)
    caplog.set_level("INFO")
    assert done(services, order(**payload)) == status
    assert services.tasks.get("acme", TASK) == before
    assert len(services.sender.sent) == 1
    assert "the task had ended before, as " in caplog.text


def test_a_task_that_another_worker_has_is_left_alone(
    services: MemoryServices, caplog: pytest.LogCaptureFixture
) -> None:
    done(services, order(errors=["ModelUnavailable"]))
    row = services.tasks.get("acme", TASK)
    assert row is not None
    held = row.task.to(
        TaskStatus.RUNNING, utc_now(), owner="other", lease_until=utc_now() + timedelta(minutes=1)
    )
    before = services.tasks.save(row, held)
    caplog.set_level("INFO")
    assert done(services, order(errors=["ModelUnavailable"])) == 1
    assert services.tasks.get("acme", TASK) == before
    assert "another worker has the task" in caplog.text


def test_the_same_text_is_the_same_task(services: MemoryServices) -> None:
    body = json.dumps({"task_type": "scripted", "payload": {}}).encode()
    assert [done(services, Order("acme", body)) for _ in range(2)] == [0, 0]
    assert len(services.tasks._rows) == 1


# --- stops ------------------------------------------------------------------------------------------------


def stopped(services: MemoryServices, it: Order, *, last: bool) -> int:
    """Like a SIGTERM as soon as the task runs."""
    watch = Watch(60)
    with once(services, "attempt", watch.signalled):
        return done(services, it, watch, last=last)


@contextmanager
def once(services: MemoryServices, what: str, act: Callable[[], object]) -> Iterator[None]:
    """Acts as soon as the task's row says so."""

    def wait() -> None:
        soon(lambda: (row := services.tasks.get("acme", TASK)) and getattr(row.task, what))
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("payload", [{"seconds": 30}, {"stubborn": 4}], ids=["checkpoints", "none"])
@pytest.mark.parametrize("last", [False, True], ids=["queue", "never"])
def test_a_stop_in_the_middle(services: MemoryServices, payload: dict[str, Any], last: bool) -> None:
    assert stopped(services, order(**payload), last=last) == 1
    task = task_of(services)
    assert task.error is not None and task.error.code == "worker_stopped" and task.error.retryable
    assert task.error.stage == "work" and task.owner is None
    assert task.status is (TaskStatus.FAILED if last else TaskStatus.RETRYING)
    assert services.queues.depth(QUEUE) == (0 if last else 1)
    assert told(services) == (["task.failed"] if last else [])
    assert len(services.dead_letters.page("acme").items) == last


def test_who_comes_back_after_its_end_writes_nothing(services: MemoryServices) -> None:
    stopped(services, order(stubborn=4), last=False)
    before = services.tasks.get("acme", TASK)
    soon(lambda: not any(thread.name == "task" for thread in threading.enumerate()))
    assert services.tasks.get("acme", TASK) == before
    assert not [name for name in services.blobs._blobs if "/results/" in name]


def test_committed_work_is_not_stopped(services: MemoryServices) -> None:
    watch = Watch(60)
    with once(services, "committing", watch.signalled):
        assert done(services, order(committing=1.5), watch, last=True) == 0
    assert told(services) == ["task.succeeded"]


def test_a_client_who_cancelled_is_told_so_whatever_stops_it(services: MemoryServices) -> None:
    watch = Watch(60)

    def cancel_and_stop() -> None:
        cancel(services, "acme", TASK)
        watch.signalled()

    with once(services, "attempt", cancel_and_stop):
        assert done(services, order(seconds=30), watch) == 1
    assert task_of(services).status is TaskStatus.CANCELLED
    assert told(services) == ["task.cancelled"]


def test_a_client_can_cancel_what_does_not_stop(services: MemoryServices) -> None:
    with once(services, "attempt", lambda: cancel(services, "acme", TASK)):
        assert done(services, order(stubborn=5)) == 1
    assert told(services) == ["task.cancelled"]


@pytest.mark.parametrize("last", [False, True], ids=["queue", "never"])
def test_time_is_up(services: MemoryServices, last: bool) -> None:
    """Of a handler that never asks: those that do end by the deadline of the attempt."""
    watch = Watch(0.2 - OVERTIME_SECONDS)
    assert done(services, order(stubborn=4), watch, last=last) == 1
    task = task_of(services)
    assert task.error is not None and task.error.code == "timeout"
    assert task.status is (TaskStatus.FAILED if last else TaskStatus.RETRYING)
    assert told(services) == (["task.failed"] if last else [])


def test_a_receiver_that_does_not_answer_does_not_keep_it(
    services: MemoryServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is made from the queue."""
    monkeypatch.setattr(one_shot, "STOP_SECONDS", 1.0)
    released = threading.Event()
    silent: Any = SilentSender(released)
    services.sender = silent
    with pytest.raises(Late):
        stopped(services, order(seconds=30), last=True)
    assert task_of(services).status is TaskStatus.FAILED
    (one,) = deliveries(services)
    assert one.pending and one.made == 0
    assert services.queues.depth(DELIVERIES_QUEUE) == 1
    released.set()
    soon(lambda: not any(thread.name == "end" for thread in threading.enumerate()))


@dataclass
class SilentSender:
    released: threading.Event

    def check(self, url: str) -> None:
        return

    def post(self, *_: object, **__: object) -> Sent:
        self.released.wait(20)
        return Sent(None, "timeout")


def test_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_shot, "SAME_SIGNAL_SECONDS", 0.01)
    watch = Watch(60)
    watch.signalled()
    time.sleep(0.05)
    watch.signalled()
    with pytest.raises(Late):
        watch.wait(lambda: False)
    assert watch.halt.error is not None


def test_signals_that_come_together_are_one() -> None:
    watch = Watch(60)
    watch.signalled()
    watch.signalled()
    until = time.monotonic() + 0.3
    watch.wait(lambda: time.monotonic() > until)


# --- what cannot be used ----------------------------------------------------------------------------------

UNUSABLE = {
    "not JSON": (b"hello", "The message is not UTF-8 JSON."),
    "no object": (b"[1]", "The message is not a JSON object."),
    "no payload": (b'{"task_type": "scripted"}', "payload: Field required"),
    "an unknown type": (b'{"task_type": "nothing", "payload": {}}', "There is no"),
    "a wrong payload": (b'{"task_type": "scripted", "payload": {"errors": 5}}', "errors"),
    "a version to come": (b'{"schema_version": 2, "task_type": "scripted", "payload": {}}', "schema_version"),
    "no Unicode": (b'{"task_type": "scripted", "payload": {"a": "\\ud800"}}', "not UTF-8 JSON"),
    "too large": (b'{"task_type":"scripted","payload":{"a":"' + b"x" * 40000 + b'"}}', "limit is 32768"),
}


@pytest.mark.parametrize(("body", "why"), list(UNUSABLE.values()), ids=list(UNUSABLE))
def test_a_message_that_can_never_work_is_a_dead_letter(
    services: MemoryServices, body: bytes, why: str
) -> None:
    it = order_of(body.decode(), ("acme",))
    for _ in range(2):
        with pytest.raises(StartError, match="TASK_DATA: ") as caught:
            done(services, it)
        assert why in str(caught.value) and caught.value.status == 2
    (letter,) = services.dead_letters.page("acme").items
    assert letter.reason == "invalid_message" and letter.dead_letter_id in str(caught.value)
    assert services.tasks._rows == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello", "The message is not UTF-8 JSON."),
        ('{"task_type": "scripted"}', "payload: Field required"),
        ('{"task_type": "scripted", "payload": {}}', "names no client_id"),
        ('{"task_type": "scripted", "payload": {}, "client_id": "other"}', "'other' is not in CLIENT_IDS"),
        ('{"client_id": "other"}', "'other' is not in CLIENT_IDS"),
        ('{"client_id": 5}', "client_id: Input should be a valid string"),
        ("\udcff\udcfe", "The message is not UTF-8 JSON."),
    ],
)
def test_nobody_knows_whose_it_is(text: str, why: str) -> None:
    with pytest.raises(StartError) as caught:
        order_of(text, ("acme", "beta"))
    assert str(caught.value).startswith("TASK_DATA: ") and why in str(caught.value)


MESSAGE = b'{"task_type": "scripted", "payload": {}, "client_id": "beta"}'
WIRE = base64.b64encode(MESSAGE).decode()


@pytest.mark.parametrize("text", [MESSAGE.decode(), WIRE, f"{WIRE[:20]}\n{WIRE[20:]}\n"])
def test_json_and_base64_of_it_are_one(text: str) -> None:
    assert order_of(text, ("acme", "beta")) == Order("beta", MESSAGE)


def test_the_only_client_needs_no_name() -> None:
    assert order_of('{"task_type": "x", "payload": {}}', ("acme",)).client_id == "acme"


def test_a_message_that_names_its_client_is_buried_for_it(services: MemoryServices) -> None:
    with pytest.raises(StartError):
        done(services, order_of('{"client_id": "beta", "payload": {}}', ("acme", "beta")))
    assert len(services.dead_letters.page("beta").items) == 1


def test_without_the_key_that_signs_nothing_is_done(services: MemoryServices) -> None:
    services.settings = services.settings.model_copy(update={"secrets_key": None})
    with pytest.raises(StartError, match="SECRETS_KEY"):
        done(services, order())
    assert services.dead_letters.page("acme").items == []


class Broken:
    def get(self, *_: object) -> None:
        raise StorageUnavailable("Storage is out of reach.", advice="Look at the account.")


def test_storage_that_is_out_of_reach_is_a_failure(
    services: MemoryServices, caplog: pytest.LogCaptureFixture
) -> None:
    broken: Any = Broken()
    services.tasks = broken
    assert done(services, order()) == 1
    assert "Look at the account." in caplog.text and "secret" not in caplog.text


def test_a_runner_without_terms_is_what_it_was(services: MemoryServices) -> None:
    it = order(errors=["ModelUnavailable"])
    assert runner.run(services, "acme", it.body, message_id="m") is None
    assert task_of(services).status is TaskStatus.RETRYING


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"TASK_DATA_RETRY": "maybe"}, "TASK_DATA_RETRY: Input should be 'queue' or 'never'"),
        ({"WORKER_TASK_TIMEOUT": "0"}, "WORKER_TASK_TIMEOUT: Input should be greater than 0"),
        ({"CLIENT_IDS": "NO"}, "CLIENT_IDS: 'NO' is not a client id"),
    ],
)
def test_wrong_settings(
    settings: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name, value in {"TASK_DATA": MESSAGE.decode(), **settings}.items():
        monkeypatch.setenv(name, value)
    assert main(["--app-root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(words)

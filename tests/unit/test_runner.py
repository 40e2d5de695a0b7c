"""The protocol, over stores in memory: claim, lease, outbox, retries, dead letters, the sweep."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from shared import delivery, maintenance, runner, signing
from shared.backlog import KEPT_SECONDS, QueueBacklog
from shared.cancellation import cancel
from shared.errors import Conflict, NotFound, RateLimited, StorageUnavailable
from shared.lease import Lease, LeaseLost
from shared.messages import DeliveryMessage, TaskMessage, from_wire, to_wire
from shared.names import DELIVERIES_QUEUE
from shared.ports import DeadLetter, Received, Row, Sent
from shared.resubmission import resubmit
from shared.storage.memory import MemoryDeadLetterStore, MemoryTaskQueue, MemoryTaskStore
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from tests.services import MemoryServices, memory_services, registered

QUEUE = "acme-tasks"
URL = "https://example.com/hook?token=secret"


@pytest.fixture(autouse=True)
def scripted() -> Iterator[None]:
    with registered("scripted", "tests.scripted"):
        yield


@pytest.fixture
def services() -> MemoryServices:
    return memory_services()


def given(services: MemoryServices, webhook_url: str | None = None, **payload: object) -> Task:
    return submit(services, "acme", Submission("scripted", payload, webhook_url)).task


def run_next(services: MemoryServices, queue: str = QUEUE) -> Received:
    """What a host does with the next message: run it, delete it."""
    (received,) = services.queues.receive(queue, 1)
    run_message(services, received)
    services.queues.delete(queue, received)
    return received


def run_message(services: MemoryServices, received: Received) -> None:
    runner.run(services, "acme", from_wire(received.text), message_id=received.id)


def row_of(services: MemoryServices, task: Task) -> Row:
    row = services.tasks.get(task.client_id, task.task_id)
    assert row is not None
    return row


def now_of(services: MemoryServices, task: Task) -> Task:
    return row_of(services, task).task


def change(services: MemoryServices, task: Task, **changes: object) -> Task:
    row = row_of(services, task)
    return services.tasks.save(row, row.task.model_copy(update=changes)).task


def test_a_task_succeeds_and_its_result_is_stored(services: MemoryServices) -> None:
    task = given(services)
    run_next(services)
    done = now_of(services, task)
    assert (done.status, done.attempt, done.owner, done.lease_until) == (TaskStatus.SUCCEEDED, 1, None, None)
    assert done.progress is not None and done.progress.percent == 100
    assert done.result_blob is not None
    assert json.loads(services.blobs.read(done.result_blob)) == {"attempt": 1}
    assert not done.needs_attention
    assert services.queues.depth(QUEUE) == 0


def test_the_same_message_again_changes_nothing(services: MemoryServices) -> None:
    task = given(services)
    received = run_next(services)
    before = row_of(services, task)
    run_message(services, received)
    assert row_of(services, task) == before


def test_a_message_of_an_earlier_seq_is_dropped(services: MemoryServices) -> None:
    task = given(services)
    (received,) = services.queues.receive(QUEUE, 1)
    change(services, task, seq=2)
    run_message(services, received)
    assert now_of(services, task).status is TaskStatus.QUEUED


def test_a_leased_task_is_left_alone(services: MemoryServices) -> None:
    task = given(services)
    held = {"status": TaskStatus.RUNNING, "owner": "other", "lease_until": utc_now() + timedelta(seconds=30)}
    before = change(services, task, attempt=1, **held)
    run_next(services)
    assert now_of(services, task) == before


def test_a_task_whose_lease_ran_out_is_taken_over(services: MemoryServices) -> None:
    task = given(services)
    held = {"status": TaskStatus.RUNNING, "owner": "dead", "lease_until": utc_now() - timedelta(seconds=1)}
    change(services, task, attempt=1, **held)
    run_next(services)
    done = now_of(services, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 2)


def test_a_task_that_kills_its_workers_ends_as_worker_lost(services: MemoryServices) -> None:
    task = given(services, webhook_url=URL)
    held = {"status": TaskStatus.RUNNING, "owner": "dead", "lease_until": utc_now() - timedelta(seconds=1)}
    change(services, task, attempt=5, **held)
    run_next(services)
    done = now_of(services, task)
    assert done.status is TaskStatus.FAILED and done.dead_lettered
    assert done.error is not None and done.error.code == "worker_lost"
    (letter,) = services.dead_letters.page("acme").items
    assert (letter.reason, letter.attempts, letter.task_id) == ("worker_lost", 5, task.task_id)
    assert services.queues.depth(DELIVERIES_QUEUE) == 1
    assert not done.needs_attention


@pytest.mark.parametrize(
    ("error", "code"),
    [("DocumentCorrupt", "document_corrupt"), ("ModelRejected", "model_rejected")],
)
def test_an_error_that_is_final_fails_the_task(services: MemoryServices, error: str, code: str) -> None:
    task = given(services, errors=[error])
    run_next(services)
    done = now_of(services, task)
    assert done.status is TaskStatus.FAILED and not done.dead_lettered
    assert done.error is not None
    assert (done.error.code, done.error.retryable, done.error.stage) == (code, False, "work")
    assert services.dead_letters.page("acme").items == []


def test_an_error_that_may_pass_is_tried_again_under_the_next_seq(services: MemoryServices) -> None:
    task = given(services, errors=["ModelUnavailable"], retry_after=0.2)
    run_next(services)
    waiting = now_of(services, task)
    assert (waiting.status, waiting.seq, waiting.attempt) == (TaskStatus.RETRYING, 2, 1)
    assert waiting.error is not None and waiting.error.code == "model_unavailable"
    assert waiting.next_attempt_at is not None and waiting.next_attempt_at > utc_now()
    assert services.queues.receive(QUEUE, 1) == []  # not visible before its time
    change(services, task, next_attempt_at=utc_now())
    runner.run(services, "acme", TaskMessage.of(waiting).encode(), message_id="x")
    done = now_of(services, task)
    assert (done.status, done.attempt, done.error) == (TaskStatus.SUCCEEDED, 2, None)


def test_a_message_before_its_time_waits(services: MemoryServices) -> None:
    task = given(services, errors=["ModelUnavailable"], retry_after=60)
    run_next(services)
    waiting = now_of(services, task)
    runner.run(services, "acme", TaskMessage.of(waiting).encode(), message_id="x")
    assert now_of(services, task) == waiting
    assert services.queues.depth(QUEUE) == 2


def test_a_task_out_of_attempts_is_a_dead_letter(services: MemoryServices) -> None:
    services = memory_services({"TASK_MAX_ATTEMPTS": "1"})
    task = given(services, webhook_url=URL, errors=["InternalError"])
    run_next(services)
    done = now_of(services, task)
    assert done.status is TaskStatus.FAILED and done.dead_lettered
    (letter,) = services.dead_letters.page("acme").items
    assert (letter.reason, letter.attempts) == ("out_of_attempts", 1)
    assert json.loads(letter.message)["task_id"] == task.task_id


def test_an_unforeseen_error_tells_the_client_nothing_of_our_insides(services: MemoryServices) -> None:
    task = given(services, errors=["NoSuchError"])
    run_next(services)
    error = now_of(services, task).error
    assert error is not None and error.code == "internal" and "secret" not in error.message


def test_a_task_that_takes_too_long_times_out() -> None:
    services = memory_services({"TASK_TIMEOUT_SECONDS": "0.2"})
    task = given(services, seconds=30)
    run_next(services)
    error = now_of(services, task).error
    assert error is not None and error.code == "timeout"


def test_a_long_task_keeps_its_lease(services: MemoryServices) -> None:
    task = given(services, seconds=3)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(2.4)  # longer than the lease of 2 s
    assert now_of(services, task).leased(utc_now())
    thread.join()
    done = now_of(services, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 1)


def test_a_worker_that_lost_its_lease_writes_nothing(services: MemoryServices) -> None:
    task = given(services, seconds=1.5)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(0.2)
    stolen = change(services, task, owner="thief")
    thread.join()
    assert now_of(services, task) == stolen
    with pytest.raises(Exception, match="Upload it again"):
        services.blobs.read(f"acme/results/none/{task.task_id}-1-1.json")


def test_a_running_task_is_cancelled(services: MemoryServices) -> None:
    task = given(services, webhook_url=URL, seconds=30)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(0.2)
    assert cancel(services, "acme", task.task_id).status is TaskStatus.CANCELLING
    thread.join(timeout=5)
    assert now_of(services, task).status is TaskStatus.CANCELLED


def test_a_waiting_task_is_cancelled_at_once(services: MemoryServices) -> None:
    task = given(services)
    assert cancel(services, "acme", task.task_id).status is TaskStatus.CANCELLED
    run_next(services)
    assert now_of(services, task).status is TaskStatus.CANCELLED


def test_a_wish_to_cancel_that_comes_after_the_work_is_too_late(services: MemoryServices) -> None:
    task = given(services, stubborn=1.0)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(0.2)
    cancel(services, "acme", task.task_id)
    thread.join()
    assert now_of(services, task).status is TaskStatus.SUCCEEDED


def test_a_task_that_was_to_be_cancelled_does_not_end_as_failed(services: MemoryServices) -> None:
    task = given(services, stubborn=1.0, errors=["DocumentCorrupt"])
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(0.2)
    cancel(services, "acme", task.task_id)
    thread.join()
    assert now_of(services, task).status is TaskStatus.CANCELLED


def cancelled_while(services: MemoryServices, seconds: float, **script: object) -> tuple[Task, float]:
    """Cancels a running task after `seconds`; how it ended, and how long after the wish."""
    task = given(services, webhook_url=URL, **script)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(seconds)
    assert cancel(services, "acme", task.task_id).status is TaskStatus.CANCELLING
    asked = time.monotonic()
    while not now_of(services, task).final and time.monotonic() < asked + 20:
        time.sleep(0.02)
    ended, took = now_of(services, task), time.monotonic() - asked
    thread.join()
    assert now_of(services, task).status is ended.status  # whoever came back later changed nothing
    return now_of(services, task), took


@pytest.mark.parametrize("lease", ["2", "60"])
def test_a_handler_in_a_call_without_checkpoints_is_abandoned(lease: str) -> None:
    services = memory_services({"TASK_LEASE_SECONDS": lease})
    done, took = cancelled_while(services, 0.2, stubborn=4, committing=0)
    assert done.status is TaskStatus.CANCELLED and took < 3
    assert not done.needs_attention and services.queues.depth(DELIVERIES_QUEUE) == 1
    assert services.blobs.delete_all("acme/results/") == 0


def test_what_an_abandoned_call_fails_with_is_of_no_account(services: MemoryServices) -> None:
    done, _ = cancelled_while(services, 0.2, stubborn=2.5, errors=["ModelUnavailable"])
    assert (done.status, done.error) == (TaskStatus.CANCELLED, None)
    assert services.queues.depth(QUEUE) == 0


def test_work_that_is_being_committed_wins(services: MemoryServices) -> None:
    done, _ = cancelled_while(services, 0.2, committing=3)
    assert done.status is TaskStatus.SUCCEEDED and done.result_blob is not None
    assert services.blobs.read(done.result_blob)


def test_a_commit_that_was_refused_does_not_win(services: MemoryServices) -> None:
    done, _ = cancelled_while(services, 0.2, committing=2, commit=False)
    assert done.status is TaskStatus.CANCELLED


def test_a_commit_without_an_answer_is_not_called_cancelled(services: MemoryServices) -> None:
    done, _ = cancelled_while(services, 0.2, committing=2, commit=None)
    assert done.status is TaskStatus.FAILED and not done.dead_lettered
    assert done.error is not None and done.error.code == "index_unavailable"


def test_a_task_whose_worker_is_gone_is_cancelled_at_once(services: MemoryServices) -> None:
    task = given(services)
    held = {"status": TaskStatus.RUNNING, "owner": "dead", "lease_until": utc_now() - timedelta(seconds=1)}
    change(services, task, attempt=1, **held)
    assert cancel(services, "acme", task.task_id).status is TaskStatus.CANCELLED


def test_a_worker_that_is_lost_at_its_commit_is_not_called_cancelled(services: MemoryServices) -> None:
    task = given(services)
    held = {"status": TaskStatus.RUNNING, "owner": "dead", "lease_until": utc_now() - timedelta(seconds=1)}
    change(services, task, attempt=1, committing=True, **held)
    assert cancel(services, "acme", task.task_id).status is TaskStatus.CANCELLING
    run_next(services)
    done = now_of(services, task)
    assert done.status is TaskStatus.FAILED
    assert done.error is not None and done.error.code == "worker_lost"


def test_a_commit_finds_out_that_the_task_is_somebody_elses(services: MemoryServices) -> None:
    claimed = time.monotonic()
    row = services.tasks.insert(given(services).model_copy(update={"task_id": "task-stolen"}))
    row = services.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now(), owner="me"))
    written: list[bool] = []
    with Lease(services.tasks, row, 60, claimed_at=claimed, renew_until=claimed + 60) as lease:
        stolen = change(services, row.task, owner="thief")
        with pytest.raises(LeaseLost):
            lease.commit(lambda: written.append(True) or True)
    assert written == [] and now_of(services, row.task) == stolen


def test_a_commit_waits_for_a_short_outage(services: MemoryServices) -> None:
    services.tasks = OutOfReach()
    services.tasks.missed_beats = 1
    task = given(services, committing=0)
    run_next(services)
    assert (now_of(services, task).status, now_of(services, task).attempt) == (TaskStatus.SUCCEEDED, 1)


def test_a_retried_task_ends_the_old_call_without_a_trace(services: MemoryServices) -> None:
    task = given(services, stubborn=2.5, committing=0)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    time.sleep(0.2)
    cancel(services, "acme", task.task_id)
    while not now_of(services, task).final:
        time.sleep(0.02)
    again = resubmit(services, "acme", task.task_id)
    thread.join()
    assert now_of(services, task) == again


class TestResubmission:
    def failed(self, services: MemoryServices, **script: object) -> Task:
        task = given(services, webhook_url=URL, **script)
        run_next(services)
        return now_of(services, task)

    def test_it_runs_again_as_if_new(self) -> None:
        services = memory_services({"TASK_MAX_ATTEMPTS": "1"})
        failed = self.failed(services, errors=["InternalError"])
        again = resubmit(services, "acme", failed.task_id)
        assert (again.status, again.seq, again.attempt) == (TaskStatus.QUEUED, failed.seq + 1, 0)
        assert (again.error, again.progress, again.finished_at, again.started_at) == (None,) * 4
        assert not again.dead_lettered and not again.has_outbox
        assert again.sequence == failed.sequence + 1
        assert again.webhook is not None and again.webhook.status == "pending"
        (letter,) = services.dead_letters.page("acme").items
        assert letter.retried_at is not None and services.dead_letters.count_open("acme") == 0
        (received,) = services.queues.receive(QUEUE)
        assert TaskMessage.decode(from_wire(received.text)).seq == again.seq

    def test_each_failure_has_its_letter_and_its_event(self) -> None:
        services = memory_services({"TASK_MAX_ATTEMPTS": "1"})
        task = self.failed(services, errors=["InternalError"])
        resubmit(services, "acme", task.task_id)
        run_next(services)
        assert now_of(services, task).status is TaskStatus.FAILED
        first, second = reversed(services.dead_letters.page("acme").items)
        assert first.task_id == second.task_id and first.dead_letter_id != second.dead_letter_id
        assert first.retried_at is not None and second.retried_at is None
        told = services.queues.receive(DELIVERIES_QUEUE)
        messages = [DeliveryMessage.decode(from_wire(received.text)) for received in told]
        assert len({message.delivery_id for message in messages}) == len(messages) == 2
        found = [services.deliveries.get("acme", message.delivery_id) for message in messages]
        records = [stored.value for stored in found if stored]
        assert [record.type for record in records] == ["task.failed"] * 2
        assert records[0].sequence < records[1].sequence

    def test_a_cancelled_task_runs_again(self, services: MemoryServices) -> None:
        task = given(services)
        cancel(services, "acme", task.task_id)
        resubmit(services, "acme", task.task_id)
        run_next_all(services)
        assert now_of(services, task).status is TaskStatus.SUCCEEDED

    def test_of_many_at_once_one_is_accepted(self, services: MemoryServices) -> None:
        task = self.failed(services, errors=["DocumentCorrupt"])
        outcomes: list[str] = []

        def retry() -> None:
            try:
                outcomes.append(resubmit(services, "acme", task.task_id).status)
            except Conflict:
                outcomes.append("conflict")

        threads = [threading.Thread(target=retry) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["conflict"] * 7 + ["queued"]
        assert services.queues.depth(QUEUE) == 1

    def test_only_what_failed_or_was_cancelled(self, services: MemoryServices) -> None:
        task = given(services)
        with pytest.raises(Conflict):
            resubmit(services, "acme", task.task_id)
        run_next(services)
        with pytest.raises(Conflict):
            resubmit(services, "acme", task.task_id)
        with pytest.raises(NotFound):
            resubmit(services, "acme", "task-unknown")

    def test_what_could_not_be_told_before_is_told_by_the_sweep(self) -> None:
        services = memory_services({"TASK_MAX_ATTEMPTS": "1"})
        services.dead_letters = LettersOutOfReach()
        failed = self.failed(services, errors=["InternalError"])
        again = resubmit(services, "acme", failed.task_id)
        assert again.letter is not None and len(again.events) == 1
        services.dead_letters.broken = False
        change(services, again, check_at=utc_now())
        maintenance.sweep(services)
        (letter,) = services.dead_letters.page("acme").items
        assert letter.retried_at is not None and not now_of(services, again).has_outbox

    def test_a_queue_out_of_reach_is_left_to_the_sweep(self, services: MemoryServices) -> None:
        task = self.failed(services, errors=["DocumentCorrupt"])
        services.queues = broken = BrokenQueue()
        assert resubmit(services, "acme", task.task_id).status is TaskStatus.QUEUED
        broken.broken = False
        change(services, task, check_at=utc_now())
        maintenance.sweep(services)
        run_next(services)
        assert now_of(services, task).status is TaskStatus.FAILED


class LettersOutOfReach(MemoryDeadLetterStore):
    broken = True

    def record(self, letter: DeadLetter) -> None:
        if self.broken:
            raise StorageUnavailable
        super().record(letter)


class BrokenQueue(MemoryTaskQueue):
    broken = True

    def put(self, queue: str, body: bytes, *, delay: float = 0) -> None:
        if self.broken:
            raise StorageUnavailable
        super().put(queue, body, delay=delay)

    def depth(self, queue: str) -> int:
        if self.broken:
            raise StorageUnavailable
        return super().depth(queue)


def run_next_all(services: MemoryServices) -> None:
    for received in services.queues.receive(QUEUE):
        run_message(services, received)
        services.queues.delete(QUEUE, received)


class TestBackPressure:
    def test_above_the_limit_nothing_is_accepted(self) -> None:
        services = memory_services({"MAX_QUEUED_TASKS_PER_CLIENT": "2"})
        wish = Submission("scripted", {}, idempotency_key="k")
        first = submit(services, "acme", wish)
        given(services)
        with pytest.raises(RateLimited) as refused:
            given(services)
        assert refused.value.retry_after
        again = submit(services, "acme", wish)
        assert (again.created, again.task.task_id) == (False, first.task.task_id)
        assert submit(services, "beta", wish).created

    def test_the_depth_is_asked_anew_when_it_is_old(self) -> None:
        queue = MemoryTaskQueue()
        now = [0.0]
        backlog = QueueBacklog(queue, 1, clock=lambda: now[0])
        assert not backlog.full("acme")
        queue.put(QUEUE, b"")
        assert not backlog.full("acme")
        now[0] = KEPT_SECONDS
        assert backlog.full("acme")

    def test_a_queue_out_of_reach_refuses_nobody(self) -> None:
        assert not QueueBacklog(BrokenQueue(), 1).full("acme")


def test_a_crash_of_the_converter_is_tried_once_more_whatever_comes_between(
    services: MemoryServices,
) -> None:
    task = given(services, errors=["ConversionCrashed", "TaskTimeout", "ConversionCrashed"])
    for _ in range(3):
        waiting = now_of(services, task)
        change(services, task, next_attempt_at=None)
        runner.run(services, "acme", TaskMessage.of(waiting).encode(), message_id="x")
    failed = now_of(services, task)
    assert (failed.status, failed.attempt, failed.dead_lettered) == (TaskStatus.FAILED, 3, False)
    assert failed.error is not None and failed.error.code == "conversion_crashed"
    assert resubmit(services, "acme", task.task_id).failures == {}


class OutOfReach(MemoryTaskStore):
    """A store whose next writes fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.missed_beats = 0

    def touch(self, row: Row, task: Task) -> Row:
        if self.missed_beats:
            self.missed_beats -= 1
            raise StorageUnavailable
        return super().save(row, task)

    def save(self, row: Row, task: Task) -> Row:
        if self.failures and task.final:
            self.failures -= 1
            raise StorageUnavailable
        return super().save(row, task)


def test_a_short_outage_does_not_throw_away_what_was_worked_for(services: MemoryServices) -> None:
    services.tasks = OutOfReach()
    task = given(services)
    services.tasks.failures = 1
    run_next(services)
    done = now_of(services, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 1)


def test_an_outage_that_outlasts_the_lease_leaves_the_task_to_another(services: MemoryServices) -> None:
    services.tasks = OutOfReach()
    task = given(services)
    services.tasks.failures = 99
    with pytest.raises(StorageUnavailable):
        run_next(services)
    services.tasks.failures = 0
    time.sleep(1.2)
    runner.run(services, "acme", TaskMessage.of(task).encode(), message_id="m")
    done = now_of(services, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 2)


def test_a_handler_that_hangs_past_its_deadline_loses_its_task(services: MemoryServices) -> None:
    claimed = time.monotonic()
    row = services.tasks.insert(given(services).model_copy(update={"task_id": "task-hanging"}))
    row = services.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now(), owner="me"))
    with Lease(services.tasks, row, 1, claimed_at=claimed, renew_until=claimed + 0.3) as lease:
        time.sleep(1.6)
        with pytest.raises(LeaseLost):
            lease.check()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff\xfe", "not UTF-8 JSON"),
        (b"[]", "not a JSON object"),
        (b'{"task_type": "nothing", "payload": {}}', "no task type"),
        (b'{"task_type": "scripted", "payload": {"wrong": 1}}', "wrong"),
        (b'{"task_type": "scripted", "payload": {}, "client_id": "beta"}', "another client"),
        (b'{"task_type": "scripted", "payload": {}, "task_id": "../../etc"}', "task_id"),
        (b'{"task_type": "scripted", "payload": {}, "schema_version": 2}', "schema_version"),
        (b'{"task_type": "ingestion", "payload": {"blob": "../beta/uploads/a.pdf"}}', "uploads/report.pdf"),
        (b'{"task_type": "ingestion", "payload": {}}', "either document_id or blob"),
        (b'{"task_type": "scripted", "payload": {"a": "' + b"x" * 33000 + b'"}}', "32768"),
        (b'{"task_type": "scripted", "payload": {"a": "\\ud800"}}', "not UTF-8 JSON"),
        (b'{"task_type": "\\ud800", "payload": {}}', "not UTF-8 JSON"),
        (b'{"task_type": "scripted", "payload": {"' + b"k" * 20000 + b'": 1}}', "k" * 64),
        (b"[" * 100_000, "not UTF-8 JSON"),
    ],
)
def test_a_message_that_can_never_work_is_a_dead_letter_at_once(
    services: MemoryServices, body: bytes, words: str
) -> None:
    services.queues.put(QUEUE, body)
    received = run_next(services)
    run_message(services, received)  # a redelivery records nothing more
    (letter,) = services.dead_letters.page("acme").items
    assert letter.reason == "invalid_message"
    assert letter.error is not None and words in letter.error["message"]
    assert len(letter.model_dump_json()) < 16_000
    assert len(letter.message.encode()) <= 4096
    assert services.tasks.page("acme").items == []
    assert services.dead_letters.page("beta").items == []


def test_a_message_naming_another_client_touches_nobodys_row(services: MemoryServices) -> None:
    task = submit(services, "beta", Submission("scripted", {})).task
    message = TaskMessage.of(task).encode()
    runner.run(services, "acme", message, message_id="m")
    assert now_of(services, task) == task
    assert services.tasks.get("acme", task.task_id) is None


def test_another_producers_message_gets_a_row_of_its_own(services: MemoryServices) -> None:
    body = b'{"task_type": "scripted", "payload": {}}'
    runner.run(services, "acme", body, message_id="queue-message-1")
    runner.run(services, "acme", body, message_id="queue-message-1")
    (task,) = services.tasks.page("acme").items
    assert (task.status, task.attempt) == (TaskStatus.SUCCEEDED, 1)


def test_a_webhook_goes_out_after_its_row_and_verifies(services: MemoryServices) -> None:
    task = given(services, webhook_url=URL)
    run_next(services)
    (received,) = services.queues.receive(DELIVERIES_QUEUE)
    delivery.deliver(services, from_wire(received.text))
    ((url, body, headers),) = services.sender.sent
    told = Webhook(signing.client_secret(services, "acme")).verify(body, headers)
    assert url == URL
    assert told["type"] == "task.succeeded"
    assert told["data"]["task_id"] == task.task_id
    assert told["data"]["webhook"] == {"url": "https://example.com", "status": "pending"}
    assert told["data"]["sequence"] == 3  # queued, started, succeeded
    assert "payload" not in told["data"]
    webhook = now_of(services, task).webhook
    assert webhook is not None and webhook.status == "delivered"


def test_a_delivery_that_fails_is_repeated_under_the_same_id_and_then_given_up() -> None:
    services = memory_services({"WEBHOOK_RETRY_SECONDS": "0,0", "WEBHOOK_COOLDOWN_SECONDS": "0"})
    services.sender.answers = [Sent(500), Sent(None, "timeout"), Sent(302)]
    task = given(services, webhook_url=URL)
    run_next(services)
    for _ in range(3):
        (received,) = services.queues.receive(DELIVERIES_QUEUE)
        delivery.deliver(services, from_wire(received.text))
        services.queues.delete(DELIVERIES_QUEUE, received)
    assert services.queues.depth(DELIVERIES_QUEUE) == 0
    assert len({headers["webhook-id"] for _, _, headers in services.sender.sent}) == 1
    webhook = now_of(services, task).webhook
    assert webhook is not None and webhook.status == "failed"


def test_a_duplicate_that_fails_does_not_undo_a_delivery() -> None:
    services = memory_services({"WEBHOOK_RETRY_SECONDS": "0"})
    task = given(services, webhook_url=URL)
    run_next(services)
    (received,) = services.queues.receive(DELIVERIES_QUEUE)
    delivery.deliver(services, from_wire(received.text))
    services.sender.answers = [Sent(410)]
    delivery.deliver(services, from_wire(received.text))
    webhook = now_of(services, task).webhook
    assert webhook is not None and webhook.status == "delivered"


def test_a_delivery_of_an_earlier_event_leaves_the_later_ones_status_alone(services: MemoryServices) -> None:
    task = given(services, webhook_url=URL)
    run_next(services)
    (received,) = services.queues.receive(DELIVERIES_QUEUE)
    change(services, task, sequence=9)
    delivery.deliver(services, from_wire(received.text))
    webhook = now_of(services, task).webhook
    assert webhook is not None and webhook.status == "pending"


def test_the_sweep_sends_events_that_were_left_in_a_row(services: MemoryServices) -> None:
    task = given(services, webhook_url=URL)
    (received,) = services.queues.receive(QUEUE)
    row = row_of(services, task)
    running = services.tasks.save(row, row.task.to(TaskStatus.RUNNING, utc_now(), owner="dead"))
    services.tasks.save(running, running.task.to(TaskStatus.SUCCEEDED, utc_now(), check_at=utc_now()))
    maintenance.sweep(services)
    maintenance.sweep(services)
    (told,) = services.queues.receive(DELIVERIES_QUEUE)
    stored = services.deliveries.get("acme", DeliveryMessage.decode(from_wire(told.text)).delivery_id)
    assert stored is not None and stored.value.task_id == task.task_id
    assert not now_of(services, task).needs_attention
    run_message(services, received)
    assert services.queues.depth(DELIVERIES_QUEUE) == 1


def test_the_sweep_enqueues_a_task_whose_message_is_gone_and_waits_longer_each_time(
    services: MemoryServices,
) -> None:
    task = given(services)
    services.queues.delete(QUEUE, services.queues.receive(QUEUE)[0])
    waits = []
    for _ in range(3):
        change(services, task, check_at=utc_now())
        maintenance.sweep(services)
        waits.append((now_of(services, task).check_at - utc_now()).total_seconds())
    assert services.queues.depth(QUEUE) == 3
    assert waits[0] < waits[1] < waits[2]
    run_next(services)
    run_next(services)
    assert now_of(services, task).attempt == 1


def test_the_sweep_leaves_a_leased_task_on_its_way(services: MemoryServices) -> None:
    task = given(services)
    services.queues.delete(QUEUE, services.queues.receive(QUEUE)[0])
    held = {"status": TaskStatus.RUNNING, "owner": "o", "lease_until": utc_now() + timedelta(seconds=60)}
    change(services, task, attempt=1, **held)
    for _ in range(4):
        change(services, task, check_at=utc_now())
        maintenance.sweep(services)
    assert services.queues.depth(QUEUE) == 0
    # However often it was looked at, its end is noticed soon.
    assert now_of(services, task).check_at - utc_now() < timedelta(seconds=3)


def poisoned(services: MemoryServices, text: str) -> None:
    services.queues.put("acme-tasks-poison", b"")
    lying = services.queues._queues["acme-tasks-poison"][-1]
    lying.message = Received("p1", text, "", 0, utc_now())


def test_the_sweep_settles_what_the_host_poisoned(services: MemoryServices) -> None:
    task = given(services, webhook_url=URL)
    poisoned(services, to_wire(TaskMessage.of(task).encode()))
    maintenance.sweep(services)
    done = now_of(services, task)
    assert done.status is TaskStatus.FAILED and done.dead_lettered
    assert services.queues.depth("acme-tasks-poison") == 0
    (letter,) = services.dead_letters.page("acme").items
    assert letter.reason == "worker_lost"
    assert services.queues.depth(DELIVERIES_QUEUE) == 1


def test_the_sweep_leaves_a_finished_task_as_it_is_whatever_was_poisoned(services: MemoryServices) -> None:
    task = given(services)
    run_next(services)
    poisoned(services, to_wire(TaskMessage.of(task).encode()))
    maintenance.sweep(services)
    assert now_of(services, task).status is TaskStatus.SUCCEEDED
    assert services.queues.depth("acme-tasks-poison") == 0


def test_a_message_poisoned_before_it_had_a_row_is_not_lost(services: MemoryServices) -> None:
    body = b'{"task_type": "scripted", "payload": {}, "task_id": "task-given-up"}'
    poisoned(services, to_wire(body))
    maintenance.sweep(services)
    row = services.tasks.get("acme", "task-given-up")
    assert row is not None and row.task.status is TaskStatus.QUEUED
    change(services, row.task, check_at=utc_now())
    maintenance.sweep(services)
    run_next(services)
    assert now_of(services, row.task).status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize(
    "body", [b'{"task_type": "nothing", "payload": {}}', b'{"task_type": "scripted", "payload": {"odd": 1}}']
)
def test_a_poisoned_message_that_can_never_work_is_a_dead_letter(
    services: MemoryServices, body: bytes
) -> None:
    message = {**json.loads(body), "task_id": "task-never-works"}
    poisoned(services, to_wire(json.dumps(message).encode()))
    maintenance.sweep(services)
    assert services.queues.depth("acme-tasks-poison") == 0
    assert len(services.dead_letters.page("acme").items) == 1


def test_one_bad_thing_does_not_keep_the_sweep_from_the_others(services: MemoryServices) -> None:
    bad, good = given(services), given(services)
    change(services, bad, check_at=utc_now(), letter={"no": "letter"})
    change(services, good, check_at=utc_now())
    maintenance.sweep(services)
    again = [from_wire(received.text) for received in services.queues.receive(QUEUE)]
    assert TaskMessage.of(good).encode() in again[2:]


def test_the_sweep_records_a_poisoned_message_that_is_not_base64(services: MemoryServices) -> None:
    poisoned(services, "{not base64}")
    maintenance.sweep(services)
    (letter,) = services.dead_letters.page("acme").items
    assert letter.reason == "invalid_message" and letter.message == "{not base64}"


def test_only_one_sweep_at_a_time(services: MemoryServices) -> None:
    task = given(services)
    change(services, task, check_at=utc_now())
    other = services.lock.acquire(maintenance.lock_name(["other"]), 60)
    release = services.lock.acquire(maintenance.lock_name(services.settings.client_ids), 60)
    assert release is not None and other is not None
    maintenance.sweep(services)
    assert services.queues.depth(QUEUE) == 1
    release()
    maintenance.sweep(services)
    assert services.queues.depth(QUEUE) == 2


def test_three_deliveries_at_once_run_the_task_once(services: MemoryServices) -> None:
    task = given(services, seconds=0.3)
    (received,) = services.queues.receive(QUEUE)
    threads = [threading.Thread(target=run_message, args=(services, received)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = now_of(services, task)
    assert (done.status, done.attempt) == (TaskStatus.SUCCEEDED, 1)

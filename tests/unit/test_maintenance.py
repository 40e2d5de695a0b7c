"""Expiry and deletion, over stores in memory. Time is moved by what is given, never by sleeping."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared import dead_letters, maintenance, runner
from shared.cancellation import cancel
from shared.deletion import clean_up, delete_document
from shared.documents import Document
from shared.errors import DocumentCorrupt, IndexUnavailable, StorageUnavailable
from shared.messages import from_wire
from shared.ports import BlobInfo, Remains
from shared.storage.memory import MemoryBlobStore
from shared.storage.memory_documents import MemoryDocuments
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from tests.services import MemoryServices, memory_services, registered

FOR_EVER = float("inf")
DAY = timedelta(days=1)
SOON = timedelta(minutes=2)


@pytest.fixture(autouse=True)
def scripted() -> Iterator[None]:
    with registered("scripted", "tests.scripted"):
        yield


@pytest.fixture
def services() -> MemoryServices:
    return memory_services({"RESULT_TTL_DAYS": "5"})


def expire(services: MemoryServices, **later: float) -> None:
    maintenance.expire_due(services, "acme", utc_now() + timedelta(**later), FOR_EVER)


def clean(services: MemoryServices, **later: float) -> None:
    maintenance.clean_documents(services, utc_now() + timedelta(**later), FOR_EVER)


def submitted(services: MemoryServices, document_id: str | None = None, **payload: object) -> Task:
    task = submit(services, "acme", Submission("scripted", payload)).task
    if document_id is None:
        return task
    return change(services, task, document_id=document_id)


def change(services: MemoryServices, task: Task, **changes: object) -> Task:
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    return services.tasks.save(row, row.task.model_copy(update=changes)).task


def run_next(services: MemoryServices) -> None:
    (received,) = services.queues.receive("acme-tasks", 1)
    runner.run(services, "acme", from_wire(received.text), message_id=received.id)
    services.queues.delete("acme-tasks", received)


def now_of(services: MemoryServices, task: Task) -> Task:
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    return row.task


def finished(services: MemoryServices, document_id: str | None = None) -> Task:
    task = submitted(services, document_id)
    run_next(services)
    return now_of(services, task)


def names(services: MemoryServices, prefix: str = "acme/") -> list[str]:
    return sorted(info.name for info in services.blobs.below(prefix))


def age(services: MemoryServices, name: str, **ago: float) -> str:
    """Writes a blob as if it had been written then."""
    services.blobs.put(name, b"x", "text/plain")
    blob = services.blobs._blobs[name]
    blob.info = BlobInfo(name, 1, blob.info.etag, "text/plain", utc_now() - timedelta(**ago))
    return name


# --- expiry ------------------------------------------------------------------------------------------------


def test_a_result_goes_when_its_time_is_up_and_its_row_stays(services: MemoryServices) -> None:
    task = finished(services)
    expire(services, days=4, hours=23)
    assert task.result_blob in names(services) and not now_of(services, task).expired
    expire(services, days=5, minutes=1)
    assert names(services) == []
    assert now_of(services, task) == task.model_copy(update={"expired": True})
    assert services.tasks.expiring("acme", utc_now() + 99 * DAY) == []


def test_an_expiry_that_is_out_of_date_removes_nothing(services: MemoryServices) -> None:
    task = finished(services)
    changed = change(services, task, result_until=utc_now() + 50 * DAY)
    expire(services, days=10)
    assert now_of(services, task) == changed
    assert task.result_blob in names(services)
    expire(services, days=51)
    assert names(services) == []


class Failing(MemoryBlobStore):
    """Fails the next so many times that it is asked to remove or list something."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable

    def delete(self, name: str, etag: str | None = None) -> None:
        self._fail()
        super().delete(name, etag)


def test_an_expiry_that_failed_half_way_is_finished_later(services: MemoryServices) -> None:
    services.blobs = Failing()
    task = finished(services)
    services.blobs.failures = 1
    expire(services, days=6)
    assert now_of(services, task).expired and task.result_blob in names(services)
    expire(services, days=6)
    assert names(services) == []
    assert services.tasks.expiring("acme", utc_now() + 99 * DAY) == []


def test_results_of_lost_attempts_go_a_day_after_the_end(services: MemoryServices) -> None:
    task = submitted(services)
    start = f"acme/results/none/{task.task_id}"
    lost, other = f"{start}-1-9.json", f"{start}-1-2-3.json"  # the second is of a task `{task_id}-1`
    for name in (lost, other):
        age(services, name, hours=1)
    run_next(services)
    expire(services, hours=23)
    assert lost in names(services)
    expire(services, hours=25)
    assert names(services) == sorted([other, f"{start}-1-1.json"])


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_checkpoints_of_a_finished_task_go(services: MemoryServices, end: str) -> None:
    task = submitted(services, "doc-1", errors=["DocumentCorrupt"] if end == "failed" else [])
    if end == "cancelled":
        cancel(services, "acme", task.task_id)
    else:
        run_next(services)
    assert now_of(services, task).status == end
    kept = age(services, "acme/checkpoints/doc-2/a.json", days=9)
    mine = age(services, "acme/checkpoints/doc-1/a.json", minutes=0)
    expire(services, hours=23)
    assert mine in names(services)
    expire(services, hours=25)
    assert names(services, "acme/checkpoints/") == [kept]


def test_checkpoints_stay_while_another_task_of_the_document_is_active(services: MemoryServices) -> None:
    finished(services, "doc-1")
    later = submitted(services, "doc-1")
    mine = age(services, "acme/checkpoints/doc-1/a.json", days=3)
    expire(services, hours=25)
    assert mine in names(services)
    run_next(services)
    assert now_of(services, later).final
    expire(services, hours=25)
    assert names(services, "acme/checkpoints/") == []


def test_a_task_that_was_set_going_again_keeps_what_it_has(services: MemoryServices) -> None:
    task = submitted(services, "doc-1", errors=["DocumentCorrupt"])
    run_next(services)
    row = services.tasks.get("acme", task.task_id)
    assert row is not None
    services.tasks.save(row, row.task.to(TaskStatus.QUEUED, utc_now(), seq=2))
    mine = age(services, "acme/checkpoints/doc-1/a.json", days=3)
    expire(services, hours=25)
    assert mine in names(services)
    assert services.tasks.expiring("acme", utc_now() + 99 * DAY) == []


def test_an_idempotency_key_is_forgotten_after_thirty_days(services: MemoryServices) -> None:
    wish = Submission("scripted", {}, idempotency_key="once")
    first = submit(services, "acme", wish)
    expire(services, days=29)
    assert submit(services, "acme", wish).task.task_id == first.task.task_id
    expire(services, days=31)
    again = submit(services, "acme", wish)
    assert again.created and again.task.task_id != first.task.task_id


def test_a_key_that_was_used_anew_is_not_forgotten(services: MemoryServices) -> None:
    wish = Submission("scripted", {}, idempotency_key="once")
    submit(services, "acme", wish)
    ((name, old),) = services.tasks._idempotency.items()
    services.tasks._idempotency[name] = old.model_copy(update={"created_at": utc_now() + 20 * DAY})
    expire(services, days=31)
    assert name in services.tasks._idempotency


def test_a_dead_letter_goes_after_ninety_days(services: MemoryServices) -> None:
    letter = dead_letters.letter_of_message("acme", b"x", DocumentCorrupt(), "m1", None)
    dead_letters.record(services, letter)
    expire(services, days=89)
    assert services.dead_letters.page("acme").items == [letter]
    expire(services, days=91)
    assert services.dead_letters.page("acme").items == []
    assert services.tasks.expiring("acme", utc_now() + 999 * DAY) == []


def test_every_letter_that_a_task_leaves_has_its_end(services: MemoryServices) -> None:
    task = submitted(services)
    change(services, task, attempt=5)
    run_next(services)
    services.queues.put("acme-tasks", b"not a message")
    run_next(services)
    assert len(services.dead_letters.page("acme").items) == 2
    expire(services, days=91)
    assert services.dead_letters.page("acme").items == []


def test_expiry_stops_at_its_time_and_goes_on_later(services: MemoryServices) -> None:
    task = finished(services)
    maintenance.expire_due(services, "acme", utc_now() + 9 * DAY, time.monotonic() - 1)
    assert task.result_blob in names(services)


# --- deletion ----------------------------------------------------------------------------------------------


def given(services: MemoryServices, document_id: str = "doc-1", upload: str = "u1") -> Document:
    """A document with a file, as an upload leaves it."""
    now = utc_now()
    document = Document(
        document_id=document_id,
        client_id="acme",
        filename="a.txt",
        content_type="text/plain",
        size=1,
        created_at=now,
        updated_at=now,
        blob=f"acme/uploads/{document_id}/{upload}/a.txt",
    )
    services.blobs.put(document.blob, b"x", "text/plain")
    return services.documents.add(document)[0]


def with_files(services: MemoryServices, document: Document) -> Document:
    for kind in ("markdown", "checkpoints", "results"):
        services.blobs.put(f"acme/{kind}/{document.document_id}/1.x", b"x", "text/plain")
    return document


def test_a_deleted_document_leaves_nothing(services: MemoryServices) -> None:
    other = given(services, "doc-10")
    with_files(services, given(services))
    assert delete_document(services, "acme", "doc-1")
    assert names(services) == [other.blob]
    assert not delete_document(services, "acme", "doc-2")


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_deletion_that_failed_half_way_is_finished_by_the_sweep(
    services: MemoryServices, failures: int
) -> None:
    services.blobs = Failing()
    with_files(services, given(services))
    services.blobs.failures = failures
    assert delete_document(services, "acme", "doc-1")
    assert services.documents.get("acme", "doc-1") is None
    assert names(services) != []
    for round in range(6):
        clean(services, minutes=2 + 2 * round)
    assert names(services) == []
    assert services.documents.to_clean(["acme"], utc_now() + 99 * DAY) == []


def test_deletions_that_fail_keep_nobody_elses_waiting(services: MemoryServices) -> None:
    services.blobs = blobs = Failing()
    stuck = [given(services, f"doc-{number}") for number in range(3)]
    blobs.failures = 10**6
    for document in stuck:
        delete_document(services, "acme", document.document_id)
    clean(services, minutes=2)
    (first, *_) = services.documents.to_clean(["acme"], utc_now() + DAY)
    assert first.cleanup_due is not None and first.cleanup_due > utc_now() + timedelta(minutes=2)


def test_what_a_worker_wrote_after_the_deletion_goes_a_minute_later(services: MemoryServices) -> None:
    given(services)
    delete_document(services, "acme", "doc-1")
    services.blobs.put("acme/markdown/doc-1/3.md", b"x", "text/markdown")
    services.blobs.put("acme/results/doc-1/task-1-1-1.json", b"{}", "application/json")
    clean(services)
    assert len(names(services)) == 2
    clean(services, minutes=2)
    assert names(services) == []
    assert services.documents.to_clean(["acme"], utc_now() + 99 * DAY) == []


def test_a_deletion_in_the_middle_of_a_task_leaves_nothing(services: MemoryServices) -> None:
    """The worker notices too late, and writes a result for a document that is gone."""
    given(services)
    task = submitted(services, "doc-1", stubborn=1.0)
    thread = threading.Thread(target=run_next, args=(services,))
    thread.start()
    while now_of(services, task).status is not TaskStatus.RUNNING:
        time.sleep(0.01)
    time.sleep(0.2)
    assert delete_document(services, "acme", "doc-1")
    clean(services, minutes=2)
    (remains,) = services.documents.to_clean(["acme"], utc_now() + DAY)
    assert remains.deleted_at is not None  # its task still ran
    thread.join()
    assert names(services) != []
    clean(services, minutes=10)
    assert names(services) == []
    assert services.documents.to_clean(["acme"], utc_now() + 99 * DAY) == []


def test_a_deletion_cancels_what_waits(services: MemoryServices) -> None:
    given(services)
    task = submitted(services, "doc-1")
    delete_document(services, "acme", "doc-1")
    assert now_of(services, task).status is TaskStatus.CANCELLED


def test_a_document_that_came_back_keeps_its_new_file(services: MemoryServices) -> None:
    services.blobs = Failing()
    first = given(services)
    services.blobs.failures = 99
    delete_document(services, "acme", "doc-1")
    services.blobs.failures = 0
    second = given(services, upload="u2")
    clean(services, minutes=30)
    assert names(services) == [first.blob, second.blob]
    clean(services, hours=3)
    assert names(services) == [second.blob]
    assert services.documents.to_clean(["acme"], utc_now() + 99 * DAY) == []


def test_the_text_of_a_former_life_goes_and_the_new_one_stays(services: MemoryServices) -> None:
    given(services)
    delete_document(services, "acme", "doc-1")
    document = given(services, upload="u2")
    old = age(services, "acme/markdown/doc-1/1.md", days=1)
    new = age(services, "acme/markdown/doc-1/3.md", minutes=0)
    result = age(services, "acme/results/doc-1/task-1-1-1.json", days=1)
    entry = services.documents._entries["acme", "doc-1"]
    entry.document = document.model_copy(update={"markdown_blob": new})
    clean(services, hours=2)
    assert old not in names(services)
    assert names(services) == sorted([document.blob, new, result])


class Interrupted(MemoryBlobStore):
    """Runs something at the moment at which the files of a document have been looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None

    def below(self, prefix: str) -> list[BlobInfo]:
        found = super().below(prefix)
        if self.meanwhile is not None and "/results/" in prefix:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return found


def test_a_revival_at_the_worst_moment_loses_nothing(services: MemoryServices) -> None:
    """Its file was seen while the document was a tombstone; its record comes before anything is removed."""
    services.blobs = Interrupted()
    first = given(services)
    late = "acme/uploads/doc-1/u2/a.txt"
    services.blobs.put(late, b"new", "text/plain")
    services.blobs.meanwhile = lambda: given(services, upload="u2")
    delete_document(services, "acme", "doc-1")
    assert names(services) == [first.blob, late]
    found = services.documents.get("acme", "doc-1")
    assert found is not None and found.blob == late


def test_a_revival_after_the_last_look_loses_nothing(services: MemoryServices) -> None:
    """An upload is under way: its file is there, its record is not yet."""
    given(services)
    late = "acme/uploads/doc-1/u2/a.txt"
    services.blobs.put(late, b"new", "text/plain")
    delete_document(services, "acme", "doc-1")
    clean(services, minutes=2)
    assert names(services) == [late]
    given(services, upload="u2")
    clean(services, hours=30)
    assert names(services) == [late]


def test_an_upload_that_never_got_its_record_goes_with_its_document(services: MemoryServices) -> None:
    given(services)
    age(services, "acme/uploads/doc-1/u0/a.txt", minutes=5)
    delete_document(services, "acme", "doc-1")
    assert len(names(services)) == 1
    clean(services, minutes=2)
    clean(services, hours=2)
    assert names(services) == []
    assert services.documents.to_clean(["acme"], utc_now() + 99 * DAY) == []


def test_the_tasks_of_a_revived_document_are_left_alone(services: MemoryServices) -> None:
    given(services)
    delete_document(services, "acme", "doc-1")
    given(services, upload="u2")
    task = submitted(services, "doc-1")
    clean(services, hours=2)
    assert now_of(services, task).status is TaskStatus.QUEUED


def named_by_its_client(services: MemoryServices) -> Document:
    document = given(services).model_copy(update={"document_id": "doc-2", "blob": "acme/uploads/a.txt"})
    services.blobs.put(document.blob, b"x", "text/plain")
    return services.documents.add(document)[0]


def test_a_blob_that_its_client_named_goes_too(services: MemoryServices) -> None:
    document = named_by_its_client(services)
    delete_document(services, "acme", "doc-2")
    assert document.blob not in names(services)


def test_a_blob_that_was_written_anew_after_the_deletion_stays(services: MemoryServices) -> None:
    document = named_by_its_client(services)
    delete_document(services, "acme", "doc-2")
    services.blobs.put(document.blob, b"new", "text/plain")
    clean(services, hours=2)
    assert services.blobs.read(document.blob) == b"new"
    assert services.documents.to_clean(["acme"], utc_now() + 99 * DAY) == []


class Away(MemoryDocuments):
    """An index out of reach of the sweep."""

    def to_clean(self, client_ids: Sequence[str], now: datetime, limit: int = 100) -> list[Remains]:
        raise IndexUnavailable


def test_an_index_out_of_reach_does_not_keep_the_sweep_from_the_rest(services: MemoryServices) -> None:
    services.documents = Away()
    task = submitted(services)
    services.queues.delete("acme-tasks", services.queues.receive("acme-tasks")[0])
    change(services, task, check_at=utc_now())
    maintenance.sweep(services)
    assert services.queues.depth("acme-tasks") == 1


def test_the_sweep_expires_and_cleans(services: MemoryServices) -> None:
    task = finished(services)
    ended = utc_now() - timedelta(days=9)
    change(services, task, finished_at=ended, result_until=ended + DAY)
    services.blobs = Failing()
    with_files(services, given(services))
    services.blobs.failures = 99
    delete_document(services, "acme", "doc-1")
    services.blobs.failures = 0
    services.documents._entries["acme", "doc-1"].cleanup_due = utc_now()
    maintenance.sweep(services)
    assert now_of(services, task).expired
    assert names(services) == []


def test_cleaning_up_what_never_was_does_nothing(services: MemoryServices) -> None:
    document = given(services)
    services.documents = MemoryDocuments()
    assert clean_up(services, document, utc_now()) is None
    assert names(services) == [document.blob]


# --- what a sweep costs ------------------------------------------------------------------------------------


class Counting:
    """Passes every call on, and counts it."""

    def __init__(self, inner: object, calls: Counter[str]) -> None:
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._inner, name)


@pytest.mark.parametrize("clients", [1, 7])
def test_a_sweep_with_nothing_to_do_asks_seven_things_of_each_client(clients: int) -> None:
    services = memory_services({"CLIENT_IDS": ",".join(f"client-{number}" for number in range(clients))})
    calls: Counter[str] = Counter()
    for name in ("tasks", "queues", "documents", "blobs", "dead_letters", "deliveries"):
        setattr(services, name, Counting(getattr(services, name), calls))
    maintenance.sweep(services)
    deliveries = 1
    assert calls == {
        "receive": clients + deliveries,
        "due": clients,
        "expiring": clients,
        "expire": clients,
        "overdue": clients,
        "depth": clients + deliveries,
        "count_open": clients,
        "to_clean": 1,
        "acquire": 1,
    }


def test_history_does_not_make_a_sweep_dearer(services: MemoryServices) -> None:
    for _ in range(20):
        finished(services)
    calls: Counter[str] = Counter()
    services.tasks = Counting(services.tasks, calls)  # type: ignore[assignment]
    maintenance.sweep(services)
    assert calls == {"due": 2, "expiring": 2}

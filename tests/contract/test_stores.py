"""What every store must hold, run over the ones in memory and over Azurite."""

from __future__ import annotations

import io
import itertools
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from shared.core import Core
from shared.errors import BlobNotFound, DocumentChanged, InvalidPayload, StorageUnavailable
from shared.messages import from_wire
from shared.ports import (
    ApiKey,
    BlobStore,
    DeadLetter,
    DeadLetterStore,
    IdempotencyRecord,
    KeyStore,
    Lock,
    Row,
    RowChanged,
    RowExists,
    TaskQueue,
    TaskStore,
)
from shared.settings import read_settings
from shared.storage.accounts import table_service
from shared.storage.memory import (
    MemoryBlobStore,
    MemoryDeadLetterStore,
    MemoryKeyStore,
    MemoryTaskQueue,
    MemoryTaskStore,
)
from shared.tasks import Expiry, Task, TaskStatus, new_task
from tests.storage_proxy import storage_proxy

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
clients = (f"client-{secrets.token_hex(3)}-{number}" for number in itertools.count())


@dataclass
class Stores:
    tasks: TaskStore
    queues: TaskQueue
    blobs: BlobStore
    keys: KeyStore
    dead_letters: DeadLetterStore
    lock: Lock


def in_memory() -> Stores:
    blobs = MemoryBlobStore()
    return Stores(
        MemoryTaskStore(),
        MemoryTaskQueue(),
        blobs,
        MemoryKeyStore(),
        MemoryDeadLetterStore(),
        blobs,
    )


@pytest.fixture(scope="module", params=["memory", "azurite"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "memory":
        yield in_memory()
        return
    connection = request.getfixturevalue("azurite")
    core = Core(read_settings({"AZURE_STORAGE_CONNECTION_STRING": connection}))
    core.prepare()
    core.prepare()  # a second time does no harm
    yield Stores(core.tasks, core.queues, core.blobs, core.keys, core.dead_letters, core.lock)
    core.close()


@pytest.fixture
def client() -> str:
    return next(clients)


def make(client: str, **more: object) -> Task:
    return new_task(client, "ingestion", {"document_id": "doc-ä"}, NOW, **more)  # type: ignore[arg-type]


def record(task: Task, key: str = "k", body: str = "b") -> IdempotencyRecord:
    return IdempotencyRecord(key_hash=key, body_hash=body, task_id=task.task_id, created_at=NOW)


class TestTasks:
    def test_a_row_is_found_as_it_was_written(self, stores: Stores, client: str) -> None:
        task = make(client, webhook_url="https://example.com/x", document_id="doc-ä")
        assert stores.tasks.insert(task).task == task
        row = stores.tasks.get(client, task.task_id)
        assert row is not None and row.task == task
        assert stores.tasks.get("other-client", task.task_id) is None

    def test_a_second_insert_of_that_id_is_refused(self, stores: Stores, client: str) -> None:
        task = make(client)
        first = stores.tasks.insert(task)
        assert stores.tasks.insert(task).etag == first.etag  # our own, whose answer was lost
        with pytest.raises(RowExists):
            stores.tasks.insert(task.model_copy(update={"payload": {"document_id": "another"}}))

    def test_an_idempotency_key_is_used_once(self, stores: Stores, client: str) -> None:
        task, other = make(client), make(client)
        stores.tasks.insert(task, record(task))
        with pytest.raises(RowExists):
            stores.tasks.insert(other, record(other))
        assert stores.tasks.get(client, other.task_id) is None
        assert stores.tasks.idempotency(client, "k") == record(task)
        stores.tasks.forget_idempotency(client, record(task))
        stores.tasks.forget_idempotency(client, record(task))
        assert stores.tasks.idempotency(client, "k") is None

    def test_a_write_over_somebody_elses_is_refused(self, stores: Stores, client: str) -> None:
        row = stores.tasks.insert(make(client))
        running = stores.tasks.save(row, row.task.to(TaskStatus.RUNNING, NOW, owner="a"))
        with pytest.raises(RowChanged):
            stores.tasks.save(row, row.task.to(TaskStatus.RUNNING, NOW, owner="b"))
        with pytest.raises(RowChanged):
            stores.tasks.touch(row, row.task)
        beaten = stores.tasks.touch(running, running.task.model_copy(update={"lease_until": NOW}))
        found = stores.tasks.get(client, row.task.task_id)
        assert found == beaten

    def test_a_row_that_is_not_there_cannot_be_saved(self, stores: Stores, client: str) -> None:
        task = make(client)
        with pytest.raises(RowChanged):
            stores.tasks.save(Row(task, 'W/"x"'), task.to(TaskStatus.RUNNING, NOW))

    def test_the_list_is_newest_first_in_pages(self, stores: Stores, client: str) -> None:
        tasks = [new_task(client, "ingestion", {}, NOW + timedelta(seconds=number)) for number in range(5)]
        for task in tasks:
            stores.tasks.insert(task)
        first = stores.tasks.page(client, limit=2)
        second = stores.tasks.page(client, limit=2, cursor=first.next_cursor)
        third = stores.tasks.page(client, limit=2, cursor=second.next_cursor)
        listed = [task.model_copy(update={"events": ()}) for task in reversed(tasks)]
        assert [*first.items, *second.items, *third.items] == listed
        assert third.next_cursor is None
        assert stores.tasks.page("other-client").items == []

    def test_the_list_filters_and_shows_the_latest_state(self, stores: Stores, client: str) -> None:
        row = stores.tasks.insert(make(client))
        stores.tasks.insert(new_task(client, "summarization", {}, NOW))
        running = stores.tasks.save(row, row.task.to(TaskStatus.RUNNING, NOW, owner="o"))
        stores.tasks.touch(running, running.task.model_copy(update={"lease_until": NOW}))
        (found,) = stores.tasks.page(client, status=TaskStatus.RUNNING).items
        assert found.lease_until == NOW
        (found,) = stores.tasks.page(client, task_type="summarization").items
        assert found.task_type == "summarization"

    @pytest.mark.parametrize("cursor", ["nonsense", "VHxh", "\u20ac"])
    def test_a_foreign_cursor_is_refused(self, stores: Stores, client: str, cursor: str) -> None:
        with pytest.raises(InvalidPayload):
            stores.tasks.page(client, cursor=cursor)

    def test_due_are_those_that_need_attention(self, stores: Stores, client: str) -> None:
        row = stores.tasks.insert(make(client, document_id="doc-1"))
        name = row.task.task_id
        assert stores.tasks.due(client, NOW) == []
        assert stores.tasks.due(client, NOW + timedelta(minutes=2)) == [name]
        assert stores.tasks.active(client, "doc-1") == [name]
        assert stores.tasks.active(client, "doc-2") == []
        running = stores.tasks.save(row, row.task.to(TaskStatus.RUNNING, NOW, owner="o"))
        done = stores.tasks.save(running, running.task.to(TaskStatus.SUCCEEDED, NOW))
        stores.tasks.save(done, done.task.model_copy(update={"events": ()}))
        assert stores.tasks.due(client, NOW + timedelta(minutes=2)) == []
        assert stores.tasks.active(client, "doc-1") == []

    def test_a_final_task_with_an_outbox_stays_due(self, stores: Stores, client: str) -> None:
        row = stores.tasks.insert(make(client, webhook_url="https://example.com"))
        cancelled = stores.tasks.save(row, row.task.to(TaskStatus.CANCELLED, NOW))
        assert stores.tasks.due(client, NOW + timedelta(minutes=2)) == [row.task.task_id]
        stores.tasks.save(cancelled, cancelled.task.model_copy(update={"events": ()}))
        assert stores.tasks.due(client, NOW + timedelta(minutes=2)) == []

    def test_a_record_of_a_key_that_was_used_anew_stays(self, stores: Stores, client: str) -> None:
        task = make(client)
        stores.tasks.insert(task, record(task))
        older = record(task).model_copy(update={"created_at": NOW - timedelta(days=31)})
        stores.tasks.forget_idempotency(client, older)
        assert stores.tasks.idempotency(client, "k") == record(task)

    def test_what_expires_is_found_in_order_of_time(self, stores: Stores, client: str) -> None:
        task = make(client)
        row = stores.tasks.insert(task, record(task))
        letter = Expiry(due=NOW + timedelta(hours=1), kind="letter", id="dl-1")
        stores.tasks.remind(client, letter)
        stores.tasks.remind(client, letter)
        running = stores.tasks.save(row, row.task.to(TaskStatus.RUNNING, NOW, owner="o"))
        running = stores.tasks.touch(running, running.task)
        end = {"result_blob": "r", "result_until": NOW + timedelta(days=40)}
        done = stores.tasks.save(running, running.task.to(TaskStatus.SUCCEEDED, NOW, **end))
        left, result = done.task.expiries
        everything = [letter, left, record(task).expiry, result]
        assert stores.tasks.expiring(client, NOW) == []
        assert stores.tasks.expiring("other-client", NOW + timedelta(days=99)) == []
        assert stores.tasks.expiring(client, left.due) == everything[:2]
        assert stores.tasks.expiring(client, result.due) == everything
        assert stores.tasks.expiring(client, result.due, limit=3) == everything[:3]
        assert (left.kind, left.due) == ("task", NOW + timedelta(days=1))

    def test_what_was_dealt_with_does_not_come_back(self, stores: Stores, client: str) -> None:
        row = stores.tasks.insert(make(client))
        cancelled = stores.tasks.save(row, row.task.to(TaskStatus.CANCELLED, NOW))
        (left,) = cancelled.task.expiries
        stores.tasks.forget(client, left)
        stores.tasks.forget(client, left)
        told = stores.tasks.save(cancelled, cancelled.task.model_copy(update={"expired": True}))
        assert stores.tasks.expiring(client, left.due) == []
        again = stores.tasks.save(told, told.task.to(TaskStatus.QUEUED, NOW))
        stores.tasks.save(again, again.task.to(TaskStatus.CANCELLED, NOW + timedelta(hours=1)))
        (later,) = stores.tasks.expiring(client, NOW + timedelta(days=2))
        assert later.due == left.due + timedelta(hours=1)

    def test_the_largest_payload_fits(self, stores: Stores, client: str) -> None:
        task = new_task(client, "ingestion", {"a": "x" * (32 * 1024 - 8)}, NOW)
        stores.tasks.insert(task)
        row = stores.tasks.get(client, task.task_id)
        assert row is not None and row.task == task


class TestQueues:
    def test_a_message_is_hidden_while_it_is_worked_on(self, stores: Stores, client: str) -> None:
        stores.queues.put(client, b'{"a": "\xc3\xa4"}')  # the queue is made on the way
        (received,) = stores.queues.receive(client, 32, 30)
        assert from_wire(received.text) == b'{"a": "\xc3\xa4"}'
        assert received.dequeue_count == 1
        assert stores.queues.receive(client, 32, 30) == []
        assert stores.queues.depth(client) == 1
        stores.queues.delete(client, received)
        stores.queues.delete(client, received)
        assert stores.queues.depth(client) == 0

    def test_a_message_comes_back_until_it_is_deleted(self, stores: Stores, client: str) -> None:
        stores.queues.put(client, b"x")
        stores.queues.receive(client, 1, 1)
        time.sleep(1.2)
        (again,) = stores.queues.receive(client, 1, 1)
        assert again.dequeue_count == 2

    def test_a_delayed_message_is_not_there_before_its_time(self, stores: Stores, client: str) -> None:
        stores.queues.put(client, b"x", delay=1)
        assert stores.queues.receive(client) == []
        time.sleep(1.5)
        assert len(stores.queues.receive(client)) == 1

    def test_the_oldest_is_told(self, stores: Stores, client: str) -> None:
        assert stores.queues.oldest(client) is None
        stores.queues.put(client, b"x")
        oldest = stores.queues.oldest(client)
        assert oldest is not None and datetime.now(UTC) - oldest < timedelta(seconds=60)

    def test_a_queue_that_is_not_there_is_empty(self, stores: Stores, client: str) -> None:
        assert stores.queues.receive(client) == []
        assert stores.queues.depth(client) == 0
        stores.queues.ensure(client)
        stores.queues.ensure(client)


class TestBlobs:
    def test_what_is_written_is_read(self, stores: Stores, client: str) -> None:
        name = f"{client}/uploads/ä b.txt"
        info = stores.blobs.put(name, b"one", "text/plain")
        assert (info.size, info.content_type) == (3, "text/plain")
        assert stores.blobs.read(name) == b"one"
        again = stores.blobs.put(name, io.BytesIO(b"longer"), "text/html")
        assert again.size == 6 and again.etag != info.etag
        assert stores.blobs.info(name).content_type == "text/html"

    def test_a_download_reports_what_it_has(self, stores: Stores, client: str) -> None:
        data = secrets.token_bytes(5 * 1024 * 1024)
        stores.blobs.put(f"{client}/uploads/big", io.BytesIO(data), "application/octet-stream")
        file, seen = io.BytesIO(), []
        info = stores.blobs.download(f"{client}/uploads/big", file, lambda *done: seen.append(done))
        assert file.getvalue() == data and info.size == len(data)
        assert seen[-1] == (len(data), len(data))

    def test_a_download_may_ask_for_one_version(self, stores: Stores, client: str) -> None:
        name = f"{client}/uploads/a"
        old = stores.blobs.put(name, b"old", "text/plain").etag
        file = io.BytesIO()
        assert stores.blobs.download(name, file, etag=old).etag == old
        new = stores.blobs.put(name, b"new", "text/plain").etag
        with pytest.raises(DocumentChanged):
            stores.blobs.download(name, file, etag=old)
        stores.blobs.download(name, file, etag=new)
        assert file.getvalue() == b"oldnew"

    def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(self, stores: Stores, client: str) -> None:
        if isinstance(stores.blobs, MemoryBlobStore):
            return  # it gives everything at once
        name, size = f"{client}/uploads/big", 9 * 1024 * 1024
        etag = stores.blobs.put(name, io.BytesIO(b"a" * size), "text/plain").etag

        def replaced(done: int, total: int) -> None:
            if done < total / 2:
                stores.blobs.put(name, io.BytesIO(b"b" * size), "text/plain")

        for wanted in (etag, None):
            file = io.BytesIO()
            with pytest.raises(DocumentChanged):
                stores.blobs.download(name, file, replaced, wanted)
            assert len(set(file.getvalue())) == 1
            etag = None

    def test_leave_to_upload_says_where_how_and_until_when(self, stores: Stores, client: str) -> None:
        grant = stores.blobs.grant_upload(f"{client}/uploads/a b", "text/plain", 900, blocks=False)
        assert "uploads/a%20b" in grant.url
        assert grant.headers["Content-Type"] == "text/plain"
        assert timedelta(minutes=14) < grant.expires_at - datetime.now(UTC) <= timedelta(minutes=15)

    def test_a_missing_blob_says_so(self, stores: Stores, client: str) -> None:
        for ask in (stores.blobs.read, stores.blobs.info):
            with pytest.raises(BlobNotFound):
                ask(f"{client}/nothing")
        with pytest.raises(BlobNotFound):
            stores.blobs.download(f"{client}/nothing", io.BytesIO())
        stores.blobs.delete(f"{client}/nothing")

    def test_everything_below_a_prefix_is_removed(self, stores: Stores, client: str) -> None:
        for name in ("a/1", "a/2", "ab/3"):
            stores.blobs.put(f"{client}/{name}", b"", "text/plain")
        assert stores.blobs.delete_all(f"{client}/a/") == 2
        assert stores.blobs.read(f"{client}/ab/3") == b""

    def test_a_blob_that_was_written_anew_is_not_taken_for_the_old_one(
        self, stores: Stores, client: str
    ) -> None:
        name = f"{client}/a/ä b.txt"
        stores.blobs.put(name, b"old", "text/plain")
        (old,) = stores.blobs.below(f"{client}/a/")
        assert (old.name, old.size) == (name, 3)
        assert old.etag == stores.blobs.info(name).etag
        assert datetime.now(UTC) - old.modified_at < timedelta(minutes=5)
        stores.blobs.put(name, b"new", "text/plain")
        stores.blobs.delete(name, old.etag)
        assert stores.blobs.read(name) == b"new"
        stores.blobs.delete(name, stores.blobs.below(name)[0].etag)
        stores.blobs.delete(name, old.etag)
        assert stores.blobs.below(f"{client}/a/") == []

    def test_a_lock_has_one_holder(self, stores: Stores, client: str) -> None:
        release = stores.lock.acquire(client, 15)
        assert release is not None
        assert stores.lock.acquire(client, 15) is None
        release()
        again = stores.lock.acquire(client, 15)
        assert again is not None
        again()


class TestKeys:
    def test_keys_are_added_listed_and_revoked(self, stores: Stores, client: str) -> None:
        key = ApiKey(key_id="0a" * 6, client_id=client, secret_hash="h" * 64, created_at=NOW)
        stores.keys.add(key)
        assert stores.keys.get(client, key.key_id) == key
        assert stores.keys.get("other-client", key.key_id) is None
        assert stores.keys.of_client(client) == [key]
        assert stores.keys.revoke(client, key.key_id, NOW)
        revoked = stores.keys.get(client, key.key_id)
        assert revoked is not None and revoked.revoked_at == NOW and revoked.secret_hash == key.secret_hash
        assert not stores.keys.revoke(client, "nothing", NOW)


def letter(client: str, number: int) -> DeadLetter:
    return DeadLetter(
        dead_letter_id=f"dl-{number}",
        client_id=client,
        task_id=None,
        task_type=None,
        reason="invalid_message",
        error=None,
        attempts=0,
        message="x",
        first_seen_at=NOW,
        dead_lettered_at=NOW + timedelta(seconds=number),
    )


class TestDeadLetters:
    def test_a_letter_is_recorded_once_and_listed_newest_first(self, stores: Stores, client: str) -> None:
        letters = [letter(client, number) for number in range(3)]
        for one in [*letters, letters[1].model_copy(update={"dead_lettered_at": NOW})]:
            stores.dead_letters.record(one)
        first = stores.dead_letters.page(client, limit=2)
        rest = stores.dead_letters.page(client, limit=2, cursor=first.next_cursor)
        assert [*first.items, *rest.items] == letters[::-1]
        assert rest.next_cursor is None
        assert stores.dead_letters.count_open(client) == 3
        assert stores.dead_letters.count_open("other-client") == 0

    def test_a_letter_goes_when_its_time_is_up(self, stores: Stores, client: str) -> None:
        old, young = letter(client, 0), letter(client, 2)
        for one in (old, young):
            stores.dead_letters.record(one)
        for name in ("dl-0", "dl-0", "dl-2", "dl-nothing"):
            stores.dead_letters.remove(client, name, NOW + timedelta(seconds=1))
        assert stores.dead_letters.page(client).items == [young]
        stores.dead_letters.record(old)
        assert stores.dead_letters.count_open(client) == 2

    def test_a_letter_is_retried_once(self, stores: Stores, client: str) -> None:
        for number in range(2):
            stores.dead_letters.record(letter(client, number))
        later = NOW + timedelta(hours=1)
        assert stores.dead_letters.retried(client, "dl-0", later)
        assert stores.dead_letters.retried(client, "dl-0", later + timedelta(hours=1))
        assert not stores.dead_letters.retried(client, "dl-9", later)
        assert not stores.dead_letters.retried("other-client", "dl-0", later)
        stores.dead_letters.record(letter(client, 0))  # a repetition does not open it again
        found = stores.dead_letters.page(client).items
        assert [item.retried_at for item in found] == [None, later]
        assert found[1].model_copy(update={"retried_at": None}) == letter(client, 0)
        assert stores.dead_letters.count_open(client) == 1


def test_rows_of_lists_are_of_both_versions(azurite: str) -> None:
    """Before, they had the outbox: who went back reads it there, and who went on does not show it."""
    client, task = next(clients), new_task("acme", "ingestion", {}, NOW)
    task = task.model_copy(update={"client_id": client})
    settings = read_settings({"AZURE_STORAGE_CONNECTION_STRING": azurite})
    core = Core(settings)
    core.prepare()
    core.tasks.insert(task)
    with table_service(settings) as service:
        table = service.get_table_client("tasks")
        query = "PartitionKey eq @client and RowKey gt 'L|' and RowKey lt 'L|~'"
        (listed,) = table.query_entities(query, parameters={"client": client})
        assert listed["events"] == "[]"
        listed["events"] = table.get_entity(client, f"T|{task.task_id}")["events"]
        table.update_entity(listed)
    (shown,) = core.tasks.page(client).items
    assert shown == task.model_copy(update={"events": ()})
    core.close()


def test_a_tasks_write_whose_answer_was_lost_is_found_again(azurite: str) -> None:
    """The SDK's retry meets what the first try has written."""
    client = next(clients)
    port = int(azurite.partition("TableEndpoint=http://127.0.0.1:")[2].partition("/")[0])
    with storage_proxy(port) as proxy:
        connection = azurite.replace(f":{port}/", f":{proxy.port}/")
        core = Core(read_settings({"AZURE_STORAGE_CONNECTION_STRING": connection}))
        core.prepare()
        proxy.losses = 1
        row = core.tasks.insert(new_task(client, "ingestion", {}, NOW))
        assert proxy.losses == 0 and row == core.tasks.get(client, row.task.task_id)
        proxy.losses = 1
        saved = core.tasks.save(row, row.task.to(TaskStatus.RUNNING, NOW, owner="a"))
        assert proxy.losses == 0 and saved == core.tasks.get(client, row.task.task_id)
        core.close()


def test_an_account_out_of_reach_is_our_own_error(free_port: int) -> None:
    endpoint = f"http://127.0.0.1:{free_port}/devstoreaccount1"
    connection = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=c2VjcmV0;"
        f"BlobEndpoint={endpoint};QueueEndpoint={endpoint};TableEndpoint={endpoint};"
    )
    core = Core(read_settings({"AZURE_STORAGE_CONNECTION_STRING": connection}))
    for ask in (
        lambda: core.tasks.get("acme", "task-1"),
        lambda: core.queues.put("acme-tasks", b""),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            ask()
        assert str(free_port) not in caught.value.message
    core.close()

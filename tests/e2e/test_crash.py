"""Workers that die, or stop and wake up too late: the task still ends, once."""

from __future__ import annotations

import http.client
import re
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil
import pytest

from local.app import App
from local.receiver import Receiver
from local.stack import Stack
from shared.core import Core
from shared.deletion import delete_document
from shared.errors import StorageUnavailable
from shared.keys import create_key
from shared.messages import TaskMessage
from shared.names import tasks_queue
from shared.settings import read_settings
from shared.signing import client_secret
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from tests.e2e.field import Field, Process, started
from tests.hosts.test_api import served

CLIENT = "crash"
LEASE_SECONDS = 2


@pytest.fixture(scope="module")
def field(app: App, stack: Stack) -> Iterator[Field]:
    """A client whose workers the tests start, with leases of seconds, and a sweep every second."""
    environment = {
        **app.environment,
        "CLIENT_IDS": CLIENT,
        "TASK_LEASE_SECONDS": str(LEASE_SECONDS),
        "WORKER_LEASE_SECONDS": "4",
        "MAINTENANCE_SCHEDULE": "* * * * * *",
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.3",
    }
    core = Core(read_settings(environment))
    core.prepare()

    def status_of(client: str, task_id: str) -> str:
        row = core.tasks.get(client, task_id)
        return str(row.task.status) if row else ""

    with (
        Receiver({CLIENT: client_secret(core, CLIENT)}, status_of) as receiver,
        # Nobody kills this one: who dies in the middle of a sweep keeps its lock for a minute.
        started("worker", "timers", environment),
    ):
        yield Field(CLIENT, environment, core, stack.postgres, receiver)
    core.close()


def died(process: Process, seconds: float = 60) -> None:
    assert process.wait(seconds) == -signal.SIGKILL


@pytest.mark.parametrize("point", ["download", "convert", "chunk", "embed", "index", "indexed"])
def test_kill_9_in_a_stage(field: Field, point: str) -> None:
    document = field.document()
    task = field.ingestion(document)
    with field.worker(point) as first:
        died(first)
    with field.worker():
        done = field.ended(task)
        assert (done.status, done.error, done.attempt) == ("succeeded", None, 2)
        assert field.whole(document) > 20
        assert len(field.told(task)) == 1


@pytest.mark.parametrize(
    ("point", "attempts"), [("before the row", 2), ("row", 1), ("announced", 1), ("delivery", 1)]
)
def test_kill_9_at_the_end(field: Field, point: str, attempts: int) -> None:
    """Between result and row, between row and delivery record, between that and its message, between that and
    its mark in the row."""
    document = field.document()
    task = field.ingestion(document)
    with field.worker(point) as first:
        died(first)
    with field.worker():
        done = field.ended(task)
        assert (done.status, done.error, done.attempt) == ("succeeded", None, attempts)
        field.whole(document)
        assert len(field.told(task)) == 1


@pytest.mark.parametrize("point", ["download", "embed", "indexed", "before the result", "before the row"])
def test_a_zombie_writes_nothing(field: Field, point: str) -> None:
    """Stopped in the middle, overtaken, and let go on.

    A write that was on its way already cannot be called back: a result goes to a name of its own attempt,
    which no row knows. Whether it still goes is a race of two threads that wake at once, the one that writes
    and the one that sees the lease is gone.
    """
    document = field.document()
    task = field.ingestion(document)
    with field.worker(point, "SIGSTOP") as zombie:
        field.wait(lambda: stopped(zombie), bool)
        with field.worker():
            done = field.ended(task)
            assert (done.status, done.attempt) == ("succeeded", 2)
            assert len(field.told(task)) == 1
            before = field.row(task), field.blobs(document), field.generations(document)
            zombie.send_signal(signal.SIGCONT)
            time.sleep(2.5)
            stray = [name for name in field.blobs(document) if name not in before[1]]
            assert point == "before the result" or not stray
            assert [name.split()[0][-9:] for name in stray] in ([], ["-1-1.json"])
            kept = [name for name in field.blobs(document) if name not in stray]
            assert (field.row(task), kept, field.generations(document)) == before
            assert zombie.poll() is None
        field.whole(document)
        assert len(field.told(task)) == 1


def stopped(process: Process) -> bool:
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def test_the_same_message_three_times_at_once(field: Field) -> None:
    document = field.document()
    with field.worker(), field.worker():
        task = field.ingestion(document)
        for _ in range(2):
            field.core.queues.put(tasks_queue(CLIENT), TaskMessage.of(task).encode())
        done = field.ended(task)
        assert (done.status, done.attempt) == ("succeeded", 1)
        field.queue_is_empty()
        assert len(field.told(task)) == 1
        assert field.row(task).task.attempt == 1
        assert len(field.blobs(document)) == 2  # one text, one result
    field.whole(document)


def test_a_message_of_an_earlier_seq_after_a_later_one(field: Field) -> None:
    document = field.document()
    task = field.ingestion(document)
    early, row = TaskMessage.of(task).encode(), field.row(task)
    # As after a retry; the sweep is not to help here.
    later = {"seq": 2, "check_at": utc_now() + timedelta(hours=1)}
    row = field.core.tasks.save(row, row.task.model_copy(update=later))
    with field.worker():
        field.queue_is_empty()
        assert field.row(task) == row
        field.core.queues.put(tasks_queue(CLIENT), TaskMessage.of(row.task).encode())
        assert field.ended(task).attempt == 1
        assert len(field.told(task)) == 1
        done = field.row(task)
        field.core.queues.put(tasks_queue(CLIENT), early)
        field.queue_is_empty()
        assert field.row(task) == done
    field.whole(document)


def test_a_message_that_kills_its_worker_every_time(field: Field) -> None:
    document = field.document()
    task = field.ingestion(document)
    row = field.row(task)
    field.core.tasks.save(row, row.task.model_copy(update={"max_attempts": 2}))
    for _ in range(2):
        with field.worker("convert") as process:
            died(process)
    with field.worker():
        done = field.ended(task)
        assert (done.status, done.attempt, done.dead_lettered) == ("failed", 2, True)
        assert done.error is not None and done.error.code == "worker_lost"
        assert len(field.told(task)) == 1
    letters = [
        letter for letter in field.core.dead_letters.page(CLIENT).items if letter.task_id == task.task_id
    ]
    assert [(letter.reason, letter.attempts) for letter in letters] == [("worker_lost", 2)]
    assert field.core.documents.chunks(CLIENT, document.document_id).items == []


def test_an_ingestion_that_another_overtook(field: Field) -> None:
    """Two of one document with different options at once: the one that began last is shown, and then, when
    its turn comes again, the other. Never a mixture."""
    document = field.document()
    lease = {"TASK_LEASE_SECONDS": "60"}
    first = field.ingestion(document)
    with field.worker("embed", "SIGSTOP", **lease) as slow:
        field.wait(lambda: stopped(slow), bool)
        second = field.ingestion(document, chunk_tokens=100)
        with field.worker(**lease):
            assert field.ended(second).status == "succeeded"
        fewer = field.whole(document)
        slow.send_signal(signal.SIGCONT)
        waiting = field.wait(lambda: field.row(first).task, lambda task: task.status == TaskStatus.RETRYING)
        assert waiting.error.code == "index_unavailable"
        assert field.whole(document) == fewer
    row = field.row(first)
    field.core.tasks.save(row, row.task.model_copy(update={"next_attempt_at": None, "check_at": utc_now()}))
    with field.worker():
        assert field.ended(first).status == "succeeded"
        assert field.whole(document) > fewer


def test_a_delete_in_the_middle_of_an_ingestion(field: Field) -> None:
    document = field.document()
    task = field.ingestion(document)
    with field.worker("embed", "SIGSTOP", TASK_LEASE_SECONDS="60") as slow:
        field.wait(lambda: stopped(slow), bool)
        assert delete_document(field.core, CLIENT, document.document_id)
        slow.send_signal(signal.SIGCONT)
        assert field.ended(task).status == "cancelled"
        assert len(field.told(task)) == 1
    assert field.core.documents.get(CLIENT, document.document_id) is None
    assert (field.generations(document), field.blobs(document)) == ({}, [])


def test_a_submission_whose_message_could_not_be_put(field: Field, free_port: int) -> None:
    document = field.document()
    connection = field.environment["AZURE_STORAGE_CONNECTION_STRING"]
    nowhere = re.sub(r"QueueEndpoint=[^;]+", f"QueueEndpoint=http://127.0.0.1:{free_port}/nobody", connection)
    cut_off = Core(read_settings({**field.environment, "AZURE_STORAGE_CONNECTION_STRING": nowhere}))
    key, _ = create_key(field.core.keys, CLIENT, utc_now())
    wish = {"task_type": "ingestion", "payload": {"document_id": document.document_id}}
    with served(cut_off) as (url, _none):
        answer = httpx.post(f"{url}/api/tasks", json=wish, headers={"X-API-Key": key}, timeout=60)
    cut_off.close()
    assert answer.status_code == 202
    task = Task.model_validate({**answer.json(), "check_at": utc_now()})
    with field.worker():
        assert field.ended(task).status == "succeeded"
    field.whole(document)


@pytest.mark.parametrize("answer", [HTTPStatus.SERVICE_UNAVAILABLE, None], ids=["503", "nothing"])
def test_an_insert_whose_answer_was_lost(field: Field, answer: HTTPStatus | None) -> None:
    """After a 503 the SDK tries again and hears that the row exists, which is then known as our own. After no
    answer at all the client is told to try again, and its Idempotency-Key finds the task."""
    document = field.document()
    wish = Submission(
        "ingestion",
        {"document_id": document.document_id},
        webhook_url=field.receiver.url(CLIENT),
        idempotency_key=document.document_id,
    )
    connection = field.environment["AZURE_STORAGE_CONNECTION_STRING"]
    endpoint = re.search(r"TableEndpoint=http://127.0.0.1:(\d+)", connection)
    assert endpoint is not None
    with Forgetful(int(endpoint[1]), answer) as proxy:
        through = connection.replace(endpoint[0], f"TableEndpoint=http://127.0.0.1:{proxy.port}")
        core = Core(read_settings({**field.environment, "AZURE_STORAGE_CONNECTION_STRING": through}))
        if answer:
            assert submit(core, CLIENT, wish).created
            assert len(proxy.written) == 2
        else:
            with pytest.raises(StorageUnavailable):
                submit(core, CLIENT, wish)
        core.close()
    again = submit(field.core, CLIENT, wish)
    assert not again.created
    with field.worker():
        assert field.ended(again.task).attempt == 1
        assert len(field.told(again.task)) == 1
    field.whole(document)


class Forgetful:
    """A proxy before the table service: the first write gets there, and its answer is `instead`, or none."""

    def __init__(self, behind: int, instead: HTTPStatus | None) -> None:
        self.written: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _forwarding(behind, instead, self.written))
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Forgetful:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _forwarding(behind: int, instead: HTTPStatus | None, written: list[int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer, content = self._forwarded()
            self._send(answer.status, content, answer.headers["Content-Type"])

        def do_POST(self) -> None:
            answer, content = self._forwarded()
            written.append(answer.status)
            if len(written) > 1:
                self._send(answer.status, content, answer.headers["Content-Type"])
            elif instead:
                self._send(instead, b"", "text/plain")

        def _forwarded(self) -> tuple[http.client.HTTPResponse, bytes]:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection("127.0.0.1", behind, timeout=20)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer, content

        def _send(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler

"""`python -m worker` as a process of its own, on a real Azurite, with the app in fixture_app/."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueClient, QueueServiceClient

from api import VERSION
from shared import scratch
from worker.delivery import poison_queue_name
from worker.errors import StartError
from worker.host_json import QueueOptions, read_host_json
from worker.http import bound
from worker.queues import Backoff
from worker.timers import parse_schedule

ROOT = Path(__file__).parents[2]
FIXTURE_APP = Path(__file__).parent / "fixture_app"
LEASE_SECONDS = 2


class Worker:
    """A running worker and what its functions noted."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self.log_file = directory / "log"
        self.calls_file = directory / "calls"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def calls(self, name: str) -> list[str]:
        lines = self.calls_file.read_text().splitlines()
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]

    @property
    def url(self) -> str:
        found = re.search(r"http (http://\S+);", self.log)
        assert found, self.log
        return found[1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        return self.process.wait(timeout=20)


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def environment(directory: Path, **settings: str) -> dict[str, str]:
    ours = ("AzureWebJobs", "AZURE_", "LOG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "CALLS_FILE": str(directory / "calls"),
        "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "QUEUE_PREFIX": "shared",
        "QUEUE_OF_A_SETTING": "Shared-By-Setting",
        "TICK_SCHEDULE": "* * * * * *",
        **settings,
    }


@contextmanager
def running(
    azurite: str,
    directory: Path,
    *arguments: str,
    port: tuple[str, ...] = ("--port", "0"),
    command: tuple[str, ...] = ("-m", "worker"),
    **settings: str,
) -> Iterator[Worker]:
    """`QUEUE_PREFIX` tells the queues of workers apart that run at the same time."""
    directory.mkdir(exist_ok=True)
    (directory / "calls").touch()
    settings = {"QUEUE_PREFIX": "own", "AzureWebJobsStorage": azurite, **settings}
    env = environment(directory, **settings)
    words = [sys.executable, *command, "--app-root", str(FIXTURE_APP), *port, *arguments]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=env, stderr=log, start_new_session=True)
    worker = Worker(process, directory)
    try:
        until(lambda: "Docmill worker:" in worker.log or process.poll() is not None)
        yield worker
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def worker(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One for all tests that do not end it."""
    with running(azurite, tmp_path_factory.mktemp("worker"), QUEUE_PREFIX="shared") as worker:
        yield worker


class Queues:
    def __init__(self, service: QueueServiceClient, stack: ExitStack) -> None:
        self._service, self._stack = service, stack

    def __call__(self, name: str) -> QueueClient:
        return self._stack.enter_context(self._service.get_queue_client(name))

    def created(self, name: str) -> QueueClient:
        queue = self(name)
        try:
            queue.create_queue()
        except ResourceExistsError:
            queue.clear_messages()
        return queue

    def put(self, name: str, body: str) -> QueueClient:
        queue = self.created(name)
        queue.send_message(encoded(body))
        return queue


@pytest.fixture(scope="module")
def queues(azurite: str) -> Iterator[Queues]:
    with (
        ExitStack() as stack,
        QueueServiceClient.from_connection_string(azurite, api_version="2026-06-06") as service,
    ):
        yield Queues(service, stack)


def encoded(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


def count(queue: QueueClient) -> int:
    """Messages on the queue, the invisible ones too; -1 where there is no queue."""
    try:
        return int(queue.get_queue_properties().approximate_message_count or 0)
    except ResourceNotFoundError:
        return -1


def start(azurite: str | None, directory: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """Runs a worker that cannot start; returns its exit status and what it printed."""
    if azurite:
        settings["AzureWebJobsStorage"] = azurite
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env=environment(directory, **settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def app_folder(directory: Path, source: str, host_json: str = '{"version": "2.0"}') -> str:
    (directory / "function_app.py").write_text(source)
    (directory / "host.json").write_text(host_json)
    return str(directory)


# Queue triggers


def test_message_that_is_done_is_deleted(worker: Worker, queues: Queues) -> None:
    queue = queues.put("shared-good", "hello")
    until(lambda: count(queue) == 0)
    assert worker.calls("good") == ["1 hello"]


def test_missing_queue_is_not_created_but_found_once_it_exists(worker: Worker, queues: Queues) -> None:
    assert count(queues("shared-awaited")) == -1
    queue = queues.put("shared-awaited", "at last")
    until(lambda: count(queue) == 0)
    assert worker.calls("awaited") == ["at last"]
    assert worker.process.poll() is None


def test_queue_named_by_a_setting(worker: Worker, queues: Queues) -> None:
    queue = queues.put("shared-by-setting", "found")
    until(lambda: count(queue) == 0)
    assert worker.calls("named_by_setting") == ["found"]


def test_functions_with_a_wrong_binding_are_left_out(worker: Worker) -> None:
    assert "Function in_error is skipped: the setting 'NOT_SET_ANYWHERE' is not set" in worker.log
    assert "Function never is skipped: a schedule has six fields" in worker.log


def test_message_describes_itself(worker: Worker, queues: Queues) -> None:
    queue = queues.created("shared-described")
    sent = queue.send_message(encoded("[1]"))
    until(lambda: count(queue) == 0)
    assert worker.calls("described") == [f"{sent.id} 1 True True described"]


def test_members_of_the_payload_replace_the_metadata(worker: Worker, queues: Queues) -> None:
    """The trap of the Functions host (worker#1373), kept so that it shows on a developer's machine."""
    queue = queues.put("shared-described", json.dumps({"ID": "mine", "dequeueCount": 7, "popReceipt": None}))
    until(lambda: count(queue) == 0)
    assert worker.calls("described")[-1] == "mine 7 True True described"


def test_metadata_replaced_by_nonsense_fails_the_call(worker: Worker, queues: Queues) -> None:
    called = len(worker.calls("described"))
    poison = queues.created("shared-described-poison")
    queues.put("shared-described", json.dumps({"dequeueCount": "many"}))
    until(lambda: count(poison) == 1)
    assert len(worker.calls("described")) == called
    assert "delivery 3" in worker.log


@pytest.mark.parametrize("name", ["failing", "returning"])
def test_failure_is_repeated_up_to_the_limit_then_poison(worker: Worker, queues: Queues, name: str) -> None:
    poison = queues(f"shared-{name}-poison")
    body = f"{name} ü <&>"
    queue = queues.put(f"shared-{name}", body)
    until(lambda: count(poison) == 1)
    until(lambda: count(queue) == 0)
    assert worker.calls(name) == ["1", "2", "3"]
    message = poison.peek_messages()[0]
    assert message.content == encoded(body)
    assert message.expires_on - message.inserted_on == timedelta(days=7)


def test_message_that_is_not_base64_is_poison_at_once(worker: Worker, queues: Queues) -> None:
    called = len(worker.calls("good"))
    poison = queues.created("shared-good-poison")
    queue = queues.created("shared-good")
    queue.send_message('{"plain": "<json>"}')
    until(lambda: count(poison) == 1)
    until(lambda: count(queue) == 0)
    message = poison.peek_messages()[0]
    assert message.content == '{"plain": "<json>"}'
    assert len(worker.calls("good")) == called


def test_lease_is_renewed_while_a_function_runs(worker: Worker, queues: Queues) -> None:
    queue = queues.put("shared-slow", str(3.0 * LEASE_SECONDS))
    until(lambda: count(queue) == 0)
    assert worker.calls("slow") == ["begins 6.0", "ends 6.0"]


def test_batch_runs_at_once_and_no_more(azurite: str, queues: Queues, tmp_path: Path) -> None:
    queue = queues.created("own-slow")
    for _ in range(4):
        queue.send_message(encoded("0.8"))
    overrides = {
        "AzureFunctionsJobHost__extensions__queues__batchSize": "2",
        "AzureFunctionsJobHost__Extensions__Queues__NewBatchThreshold": "0",
    }
    with running(azurite, tmp_path / "w", "--only", "queues", **overrides) as worker:
        until(lambda: count(queue) == 0)
    running_now, most = 0, 0
    for call in worker.calls("slow"):
        running_now += 1 if call.startswith("begins") else -1
        most = max(most, running_now)
    assert most == 2


def test_only_the_named_clients_and_parts(azurite: str, queues: Queues, tmp_path: Path) -> None:
    other = queues.put("own-one-tasks", "not mine")
    mine = queues.put("own-two-tasks", "mine")
    shared = queues.put("own-good", "shared")
    with running(azurite, tmp_path / "w", "--only", "queues", "--clients", "own-two") as worker:
        until(lambda: count(mine) == 0 and count(shared) == 0)
        assert worker.calls("two") == ["mine"]
        assert "http off" in worker.log
    assert count(other) == 1
    assert not worker.calls("one")
    assert not worker.calls("tick")
    other.clear_messages()


def test_storage_out_of_reach_does_not_end_the_worker(tmp_path: Path) -> None:
    nowhere = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=AAAA;"
        "QueueEndpoint=http://127.0.0.1:9/devstoreaccount1;"
    )
    with running(nowhere, tmp_path / "w", "--only", "queues") as worker:
        until(lambda: "Queue own-good cannot be read" in worker.log)
        assert worker.process.poll() is None
        worker.signal(signal.SIGTERM)
        assert worker.status() == 0
        assert "AAAA" not in worker.log


# Timers and HTTP


def test_timer_fires_and_never_twice_at_once(worker: Worker) -> None:
    until(lambda: worker.calls("tick").count("ends") >= 2)
    calls = worker.calls("tick")
    assert calls[:4] == ["begins False", "ends", "begins False", "ends"]


def test_asgi_app_answers_under_the_same_paths(worker: Worker) -> None:
    with urllib.request.urlopen(f"{worker.url}/api/tasks", timeout=10) as answer:
        assert json.load(answer) == {"path": "/api/tasks"}


def test_timers_run_once_among_workers(worker: Worker, azurite: str, tmp_path: Path) -> None:
    with running(azurite, tmp_path / "w", "--only", "timers") as other:
        before = len(worker.calls("tock"))
        until(lambda: len(worker.calls("tock")) - before + len(other.calls("tock")) >= 4)
        seconds = worker.calls("tock")[before:] + other.calls("tock")
    assert len(set(seconds)) == len(seconds)


# Starting


def test_the_log_says_what_was_started(worker: Worker) -> None:
    (line,) = [line for line in worker.log.splitlines() if "Docmill worker:" in line]
    for told in (
        f"version {VERSION};",
        "clients default;",
        "provider local;",
        "queues shared-good, shared-described,",
        "batchSize 4, newBatchThreshold 0, maxDequeueCount 3,",
        "functionTimeout 0:30:00,",
        "drain 10 s;",
    ):
        assert told in line
    assert not re.search("AccountKey|Eby8vdM02x", worker.log)


def test_the_entry_point_of_old(azurite: str, queues: Queues, tmp_path: Path) -> None:
    queue = queues.put("own-good", "by another door")
    script = ("worker/async_worker.py",)
    with running(azurite, tmp_path / "w", "--only", "queues", command=script):
        until(lambda: count(queue) == 0)


def test_monitor(azurite: str, tmp_path: Path) -> None:
    with running(azurite, tmp_path / "w", "--only", "queues", "--monitor-port", "0") as worker:
        found = re.search(r"monitor (http://\S+)", worker.log)
        assert found
        until(lambda: asked(f"{found[1]}/readyz")["checks"]["functions"] == "ok")
        assert asked(f"{found[1]}/healthz") == {"status": "ok"}
        (functions,) = psutil.Process(worker.process.pid).children()
        figures = Path(functions.environ()["PROMETHEUS_MULTIPROC_DIR"])
        assert figures.is_dir()
        worker.signal(signal.SIGTERM)
        assert worker.status() == 0
        assert not figures.exists()


def asked(url: str) -> Any:
    """What it says, whatever the status: the account has no tables."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def test_systemd_is_told(azurite: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        settings = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "800000"}
        with running(azurite, tmp_path / "w", "--only", "queues", **settings) as worker:
            assert [systemd.recv(99) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            (functions,) = psutil.Process(worker.process.pid).children()
            functions.suspend()
            systemd.settimeout(2)
            with pytest.raises(TimeoutError):
                for _ in range(5):
                    systemd.recv(99)
            functions.resume()
            systemd.settimeout(20)
            assert systemd.recv(99) == b"WATCHDOG=1"
            worker.signal(signal.SIGTERM)
            assert worker.status() == 0
            told = [systemd.recv(99)]
            while told[-1] == b"WATCHDOG=1":
                told.append(systemd.recv(99))
            assert told[-1] == b"STOPPING=1"


# Stopping


def test_answers_are_sent_without_delay() -> None:
    """asyncio turns Nagle's algorithm off, but only on a socket that says that it is TCP."""

    async def option() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bound("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found = await accepted
            writer.close()
            await writer.wait_closed()
            return found

    assert asyncio.run(option()) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_running_calls_end(azurite: str, queues: Queues, tmp_path: Path, number: int) -> None:
    queue = queues.put("own-slow", "1.5")
    with running(azurite, tmp_path / "w") as worker:
        until(lambda: worker.calls("slow"))
        os.killpg(worker.process.pid, number)
        worker.signal(number)  # as the leader of a process group passes it on
        assert worker.status() == 0
        assert worker.calls("slow") == ["begins 1.5", "ends 1.5"]
        assert worker.calls("lifespan") == ["shutdown"]
        assert count(queue) == 0
        assert "Traceback" not in worker.log


def test_signal_is_noticed_whichever_thread_it_comes_to(azurite: str, tmp_path: Path) -> None:
    with running(azurite, tmp_path / "w", "--only", "queues") as worker:
        *_, last = psutil.Process(worker.process.pid).threads()
        assert last.id != worker.process.pid
        ctypes.CDLL(None).tgkill(worker.process.pid, last.id, signal.SIGTERM)
        assert worker.status() == 0


def test_what_does_not_end_in_time_keeps_its_lease(azurite: str, queues: Queues, tmp_path: Path) -> None:
    queue = queues.put("own-slow", "30")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    settings = {"WORKER_LEASE_SECONDS": "60", "TMPDIR": str(temporary)}
    with running(azurite, tmp_path / "w", "--drain-seconds", "0.3", **settings) as worker:
        until(lambda: worker.calls("slow"))
        assert list(temporary.glob(f"{scratch.PREFIX}*"))
        worker.signal(signal.SIGTERM)
        assert worker.status() == 0
    assert not list(temporary.iterdir())
    assert count(queue) == 1
    assert not list(queue.receive_messages())
    queue.clear_messages()


def test_what_never_began_is_given_back(azurite: str, queues: Queues, tmp_path: Path) -> None:
    queue = queues.created("own-slow")
    for _ in range(2):
        queue.send_message(encoded("20"))
    settings = {"PYTHON_THREADPOOL_THREAD_COUNT": "1", "WORKER_LEASE_SECONDS": "60"}
    with running(azurite, tmp_path / "w", "--only", "queues", "--drain-seconds", "0.3", **settings) as worker:
        until(lambda: worker.calls("slow"))
        worker.signal(signal.SIGTERM)
        assert worker.status() == 0
    assert len(worker.calls("slow")) == 1
    assert len(list(queue.receive_messages())) == 1
    queue.clear_messages()


def test_second_signal_ends_at_once(azurite: str, queues: Queues, tmp_path: Path) -> None:
    queue = queues.put("own-slow", "30")
    with running(azurite, tmp_path / "w", "--only", "queues", "--drain-seconds", "30") as worker:
        until(lambda: worker.calls("slow"))
        worker.signal(signal.SIGTERM)
        until(lambda: "Stopping" in worker.log)
        time.sleep(0.7)
        worker.signal(signal.SIGTERM)
        assert worker.status() == 128 + signal.SIGTERM
    queue.clear_messages()


# The rules without a process


def test_pauses_between_empty_polls_grow_to_the_cap() -> None:
    backoff = Backoff(cap=2)
    pauses = [backoff.pause() for _ in range(9)]
    for pause, expected in zip(pauses, [0.1, 0.2, 0.3, 0.5, 0.9, 1.7], strict=False):
        assert pause == pytest.approx(expected, rel=0.2)
    assert pauses[6:] == [2, 2, 2]
    backoff.found()
    assert backoff.pause() == 0.1


def test_defaults_of_the_host() -> None:
    options = QueueOptions()
    assert (options.batch_size, options.threshold, options.max_dequeue_count) == (16, 8, 5)
    assert (options.poll_cap(development=True), options.poll_cap(development=False)) == (2, 60)
    own = QueueOptions.model_validate({"maxpollinginterval": "1.00:00:30"})
    assert own.poll_cap(development=True) == 86430


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/20 * * * * *", "2026-11-22T10:00:20"),
        ("0 */5 * * * *", "2026-11-22T10:05:00"),
        ("0 30 9 * * 1-5", "2026-11-23T09:30:00"),
        ("0 0 0 1 * MON", "2027-02-01T00:00:00"),
    ],
)
def test_schedule(schedule: str, expected: str) -> None:
    start = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    assert parse_schedule(schedule, start).get_next(datetime) == datetime.fromisoformat(f"{expected}+00:00")


@pytest.mark.parametrize("schedule", ["* * * * *", "0 0 0 * * 9", "00:05:00"])
def test_wrong_schedule(schedule: str) -> None:
    with pytest.raises(ValueError):
        parse_schedule(schedule, datetime.now(UTC))


def test_names_of_poison_queues() -> None:
    assert poison_queue_name("acme-tasks") == "acme-tasks-poison"
    assert poison_queue_name("acme-tasks-poison") is None
    assert poison_queue_name("a" * 57) is None


# What cannot start says so in one line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": "1.0"}', "host.json: version: Input should be '2.0'"),
        ("{}", "host.json: version: "),
        ("{", "host.json: not valid JSON"),
        ('{"version": "2.0", "extensions": {"Queues": {"BatchSize": 33}}}', "host.json: queues.batchsize: "),
        (
            '{"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "soon"}}}',
            "maxpollinginterval",
        ),
    ],
)
def test_wrong_host_json(tmp_path: Path, text: str, message: str) -> None:
    app_folder(tmp_path, "", text)
    with pytest.raises(StartError) as caught:
        read_host_json(tmp_path, {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_our_own_host_json() -> None:
    options = read_host_json(ROOT, {}).queues
    assert set(QueueOptions.model_fields) == options.model_fields_set


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"WORKER_LEASE_SECONDS": "soon"}, "WORKER_LEASE_SECONDS: "),
        ({"DOCMILL_PORT": "high"}, "DOCMILL_PORT: a number from 0 to 65535"),
        ({"AzureWebJobsStorage": ""}, "no storage account is set"),
        ({"AzureFunctionsJobHost__version": "3.0"}, "host.json: version: "),
    ],
)
def test_wrong_settings(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    settings = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", **settings}
    status, printed = start(None, tmp_path, "--app-root", str(FIXTURE_APP), **settings)
    assert status == 2
    assert message in printed.splitlines()[-1]
    assert "Traceback" not in printed


def test_asgi_app_that_does_not_start(tmp_path: Path) -> None:
    source = """
import azure.functions as func
async def asgi(scope, receive, send):
    await send({"type": "lifespan.startup.failed", "message": "no database"})
app = func.AsgiFunctionApp(app=asgi)
"""
    folder = app_folder(tmp_path, source)
    status, printed = start("UseDevelopmentStorage=true", tmp_path, "--app-root", folder, "--port", "0")
    assert status == 1
    assert "no database" in printed


def test_port_that_is_taken(azurite: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, printed = start(azurite, tmp_path, "--app-root", str(FIXTURE_APP), "--port", port)
    assert status == 2
    assert f"cannot listen on 127.0.0.1:{port}" in printed


def test_second_worker_on_the_same_settings_shares_the_queues(
    azurite: str, tmp_path: Path, queues: Queues
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"DOCMILL_PORT": str(taken.getsockname()[1])}
        queue = queues.put("own-good", "from the second")
        with running(azurite, tmp_path, port=(), **settings) as worker:
            assert "This worker serves no HTTP" in worker.log
            until(lambda: count(queue) == 0)


def test_unknown_client(azurite: str, tmp_path: Path) -> None:
    status, printed = start(azurite, tmp_path, "--app-root", str(FIXTURE_APP), "--clients", "own-three")
    assert status == 2
    assert "--clients: the app has no trigger for own-three-tasks" in printed


def test_local_settings_lie_below_the_environment(tmp_path: Path) -> None:
    values = {"LOG_FORMAT": "wrong"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    folder = app_folder(tmp_path, "")
    status, printed = start(None, tmp_path, "--app-root", folder)
    assert (status, printed[:11]) == (2, "LOG_FORMAT:")
    status, printed = start(None, tmp_path, "--app-root", folder, LOG_FORMAT="text")
    assert (status, "exactly one FunctionApp" in printed) == (1, True)

"""What becomes of a message, an app: the same in `python -m worker` as in the Functions host, one row a test.

The rows are taken from the sources of the host and its storage extension, and from what the genuine Python
worker does. Where we differ on purpose the row says so.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tests.hosts.test_worker import (
    Queues,
    Worker,
    app_folder,
    count,
    encoded,
    queues,
    running,
    start,
    until,
)

__all__ = ["queues"]
MOST = 3
"""maxDequeueCount of the app."""
TIMEOUT_SECONDS = 4
LEASE_SECONDS = 4


@pytest.fixture(scope="module")
def worker(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    settings = {
        "QUEUE_PREFIX": "fidelity",
        "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "AzureFunctionsJobHost__functionTimeout": f"00:00:0{TIMEOUT_SECONDS}",
    }
    directory = tmp_path_factory.mktemp("fidelity")
    with running(azurite, directory, "--only", "queues", **settings) as worker:
        yield worker


@dataclass(frozen=True)
class Row:
    """A message that asks for `deed`. `deliveries`: the counts that the function is called with. `poisoned`:
    where it ends; it is deleted otherwise. `renewed`: processes that it costs."""

    what: str
    deed: str
    deliveries: list[int] = field(default_factory=lambda: [1])
    poisoned: bool = False
    renewed: int = 0
    function: str = "fate"


ALL = list(range(1, MOST + 1))
ROWS = [
    Row("success deletes it", "good"),
    Row("an exception releases it, counted", "fail once", [1, 2]),
    Row("the last failure poisons it", "fail", ALL, poisoned=True),
    Row("a returned value without output binding is a failure", "return", ALL, poisoned=True),
    Row("an async function succeeds", "good", function="async_fate"),
    Row("an async function fails", "fail once", [1, 2], function="async_fate"),
    Row("an async function returns a value", "return", ALL, poisoned=True, function="async_fate"),
    Row("sys.exit(3) ends the process, the call has failed", "exit3 once", [1, 2], renewed=1),
    # The Functions host neither fails the call nor starts the process again when the status is 0.
    Row("sys.exit(0) does the same here", "exit0 once", [1, 2], renewed=1),
    Row("a native crash does the same", "crash once", [1, 2], renewed=1),
    Row("sys.exit(3) in an async function", "exit3 once", [1, 2], renewed=1, function="async_fate"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_message(worker: Worker, queues: Queues, row: Row) -> None:
    name = f"fidelity-{row.function.replace('_', '-')}"
    before = len(worker.calls(row.function))
    poison = queues.created(f"{name}-poison")
    queue = queues.put(name, row.deed)
    until(lambda: count(queue) == 0, 40)
    calls = [call.split() for call in worker.calls(row.function)[before:]]
    assert [int(delivery) for delivery, _ in calls] == row.deliveries
    assert len({process for _, process in calls}) == row.renewed + 1
    assert count(poison) == int(row.poisoned)
    assert worker.process.poll() is None


def test_the_poison_message_is_a_new_one_with_the_old_body(worker: Worker, queues: Queues) -> None:
    poison = queues.created("fidelity-failing-poison")
    sent = queues.created("fidelity-failing").send_message(encoded("ü <&>"))
    until(lambda: count(poison) == 1)
    (message,) = poison.receive_messages()
    assert (message.content, message.dequeue_count) == (encoded("ü <&>"), 1)
    assert message.id != sent.id
    assert message.expires_on - message.inserted_on == timedelta(days=7)


def test_what_is_not_base64_is_poisoned_at_once(worker: Worker, queues: Queues) -> None:
    called = len(worker.calls("fate"))
    poison, queue = queues.created("fidelity-fate-poison"), queues.created("fidelity-fate")
    queue.send_message("{not base64}")
    until(lambda: count(poison) == 1 and count(queue) == 0)
    assert poison.peek_messages()[0].content == "{not base64}"
    assert len(worker.calls("fate")) == called


def test_what_was_delivered_too_often_is_poisoned_without_a_call(
    azurite: str, tmp_path: Path, queues: Queues
) -> None:
    poison, queue = queues.created("often-good-poison"), queues.put("often-good", "too often")
    for _ in range(MOST):
        (message,) = queue.receive_messages(visibility_timeout=60)
        queue.update_message(message, visibility_timeout=0)
    with running(azurite, tmp_path / "w", "--only", "queues", QUEUE_PREFIX="often") as worker:
        until(lambda: count(poison) == 1 and count(queue) == 0)
        assert not worker.calls("good")


MEMBERS = [
    ({"id": "mine"}, "mine 1"),
    ({"ID": "mine", "DEQUEUECOUNT": 7}, "mine 7"),
    ({"dequeueCount": "5"}, "{id} 5"),
    ({"id": None, "dequeueCount": [3]}, "{id} 1"),
    ({"jobId": "mine"}, "{id} 1"),
]


@pytest.mark.parametrize(("payload", "seen"), MEMBERS, ids=json.dumps)
def test_members_of_the_payload_replace_the_metadata(
    worker: Worker, queues: Queues, payload: dict[str, object], seen: str
) -> None:
    before = len(worker.calls("described"))
    queue = queues.created("fidelity-described")
    sent = queue.send_message(encoded(json.dumps(payload)))
    until(lambda: count(queue) == 0)
    (call,) = worker.calls("described")[before:]
    assert call.startswith(seen.format(id=sent.id) + " ")


def test_a_date_that_is_none_fails_the_call(worker: Worker, queues: Queues) -> None:
    called = len(worker.calls("described"))
    poison = queues.created("fidelity-described-poison")
    queue = queues.put("fidelity-described", json.dumps({"insertionTime": "soon"}))
    until(lambda: count(poison) == 1 and count(queue) == 0)
    assert len(worker.calls("described")) == called


def test_function_timeout_fails_a_call_that_hangs_and_leaves_the_others_leased(
    worker: Worker, queues: Queues
) -> None:
    """Unlike in the host the places of the others are free again at once, and nobody renews their leases: the
    host waits for the timeout of each, although its process is gone."""
    other_queue = queues.created("fidelity-slow")
    hanging = len(worker.calls("fate"))
    queue = queues.put("fidelity-fate", "hang once")
    until(lambda: len(worker.calls("fate")) > hanging)
    time.sleep(TIMEOUT_SECONDS - 1.5)  # so late that it is alive when the process is killed
    other_queue.send_message(encoded("3.9"))
    until(lambda: len(worker.calls("slow")) == 1)
    until(lambda: count(queue) == 0)
    first = [call.split()[1] for call in worker.calls("fate")[hanging:]]
    assert len(first) == len(set(first)) == 2
    assert worker.calls("slow") == ["begins 3.9"] and count(other_queue) == 1
    until(lambda: count(other_queue) == 0)
    assert worker.calls("slow") == ["begins 3.9", "begins 3.9", "ends 3.9"]


def test_a_process_that_dies_often(azurite: str, tmp_path: Path, queues: Queues) -> None:
    """Once by somebody else's hand, then by a message that kills every process, which is poisoned."""
    queue, poison = queues.put("often-fate", "hang once"), queues.created("often-fate-poison")
    with running(azurite, tmp_path / "w", "--only", "queues", QUEUE_PREFIX="often") as worker:
        until(lambda: worker.calls("fate"))
        os.kill(int(worker.calls("fate")[0].split()[1]), signal.SIGKILL)
        until(lambda: count(queue) == 0)
        assert [call.split()[0] for call in worker.calls("fate")] == ["1", "2"]
        queue.send_message(encoded("exit3"))
        until(lambda: count(poison) == 1 and count(queue) == 0)
        assert [call.split()[0] for call in worker.calls("fate")[2:]] == ["1", "2", "3"]
        assert "another starts in 0 s" in worker.log and "another starts in 1 s" in worker.log
        good = queues.put("often-good", "still there")
        until(lambda: count(good) == 0)


def test_the_functions_end_with_their_host(azurite: str, tmp_path: Path) -> None:
    with running(azurite, tmp_path / "w", "--only", "queues", QUEUE_PREFIX="ending") as worker:
        (functions,) = psutil.Process(worker.process.pid).children()
        worker.signal(signal.SIGKILL)
        worker.process.wait()
        until(lambda: not functions.is_running() or functions.status() == psutil.STATUS_ZOMBIE)


# One error in the app hides every function: the worker does not start

ONE_FUNCTION = """
import azure.functions as func
app = func.FunctionApp()
@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def yearly({parameters}): pass
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import there_is_no_such_module", "No module named 'there_is_no_such_module'"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "exactly one FunctionApp is needed at its top level, it has 0"),
        (ONE_FUNCTION.format(parameters="timer") + "other = func.FunctionApp()", "it has 2"),
        (ONE_FUNCTION.format(parameters="timer, extra=1"), "yearly has parameters ['extra', 'timer']"),
        (
            ONE_FUNCTION.format(parameters="timer")
            + ONE_FUNCTION.format(parameters="timer").split("app = func.FunctionApp()\n")[1],
            "does not have a unique function name",
        ),
    ],
)
def test_app_that_does_not_load(tmp_path: Path, source: str, message: str) -> None:
    storage = "UseDevelopmentStorage=true"
    status, printed = start(storage, tmp_path, "--app-root", app_folder(tmp_path, source))
    assert status == 1
    assert message in printed
    assert "Traceback" not in printed

"""The worker's port for operators, and what is read for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.dead_letters import letter_of_message
from shared.errors import InvalidPayload, StorageUnavailable
from shared.storage.memory import MemoryDeadLetterStore, MemoryTaskQueue
from worker import gauges, kept
from worker.errors import StartError
from worker.gauges import HELP, ProcessGauges, QueueGauges, Sample, worker_gauges
from worker.kept import Kept
from worker.monitoring import Monitor

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kept, "time", clock)
    return clock


def made(look: Callable[[], Any], patience: float = 10) -> Kept[Any]:
    return Kept(look, seconds=30, patience=patience, good_for=90, idle="nothing")


def test_an_answer_is_kept(clock: Clock) -> None:
    looks = iter(range(100))
    answer = made(lambda: next(looks))
    assert [answer.latest(), answer.latest()] == [0, 0]
    clock.now += 31
    assert answer.latest() == 1


def test_nobody_waits_longer_than_his_patience_for_a_look_that_hangs(clock: Clock) -> None:
    gate, looks = threading.Event(), [0]

    def look() -> str:
        looks[0] += 1
        if looks[0] > 1:
            gate.wait(60)
        return f"look {looks[0]}"

    answer = made(look, patience=0.01)
    answer._patience = 10
    assert answer.latest() == "look 1"
    answer._patience = 0.01
    clock.now += 31
    assert answer.latest() == "look 1"  # somebody looks, and the old answer is good enough
    clock.now += 60
    assert answer.latest() == "nothing"
    assert looks == [2]  # one at a time
    gate.set()


def test_a_look_that_fails_finds_nothing(clock: Clock) -> None:
    def look() -> str:
        raise RuntimeError("as the test wants it")

    assert made(look).latest() == "nothing"


class Queue(MemoryTaskQueue):
    reachable = True
    asked = 0

    def depth(self, queue: str) -> int:
        self.asked += 1
        if not self.reachable:
            raise StorageUnavailable
        return super().depth(queue)


def shown(samples: Iterable[Sample]) -> dict[str, float]:
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_the_queues_of_each_client(clock: Clock) -> None:
    queue, letters = Queue(), MemoryDeadLetterStore()
    queue.put("acme-tasks", b"x")
    letters.record(letter_of_message("acme", b"x", InvalidPayload(), "m", None))
    assert shown(QueueGauges(queue, letters, ["acme", "beta"])()) == {
        "docmill_storage_up": 1,
        "docmill_queue_depth acme": 1,
        "docmill_queue_oldest_seconds acme": 0,
        "docmill_dead_letters_open acme": 1,
        "docmill_queue_depth beta": 0,
        "docmill_queue_oldest_seconds beta": 0,
        "docmill_dead_letters_open beta": 0,
    }


def test_queues_are_looked_at_now_and_then_and_no_stale_value_is_shown(clock: Clock) -> None:
    queue = Queue()
    read = QueueGauges(queue, MemoryDeadLetterStore(), ["acme"])
    for _ in range(3):
        assert shown(read())["docmill_queue_depth acme"] == 0
    assert queue.asked == 1
    queue.reachable = False
    clock.now += gauges.LOOK_SECONDS + 1
    assert shown(read()) == {"docmill_storage_up": 0}
    queue.reachable = True
    clock.now += gauges.LOOK_SECONDS + 1
    assert "docmill_queue_depth acme" in shown(read())


CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


def test_memory_by_what_a_process_does() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE) as functions:
        process = psutil.Process(functions.pid)
        while not process.children():
            assert functions.poll() is None
        found = shown(ProcessGauges(lambda: [functions.pid])())
        functions.communicate()
    for name in ("host", "functions", "conversion"):
        assert found[f"docmill_process_resident_bytes {name}"] > 1_000_000
    gone = shown(ProcessGauges(lambda: [functions.pid])())
    assert gone["docmill_process_resident_bytes functions"] == 0


@contextmanager
def serving(
    checks: Callable[[], Mapping[str, str | None]] = lambda: {"storage": None},
    samples: Callable[[], Iterable[Sample]] = tuple,
    alive: Callable[[], bool] = lambda: True,
) -> Iterator[Callable[[str], tuple[int, str]]]:
    monitor = Monitor("127.0.0.1", 0, checks, samples, alive)
    thread = threading.Thread(target=monitor.run)
    thread.start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{monitor.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    yield get
    monitor.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_alive() -> None:
    lives = [True, False]
    with serving(alive=lambda: lives.pop(0)) as get:
        assert get("/healthz") == (200, '{"status": "ok"}')
        assert get("/healthz?again")[0] == 503
        assert get("/")[0] == 404


def test_ready_says_what_is_missing(clock: Clock) -> None:
    problems: dict[str, str | None] = {"storage": None, "functions": None}
    with serving(checks=lambda: dict(problems)) as get:
        assert get("/readyz") == (200, '{"status": "ok", "checks": {"storage": "ok", "functions": "ok"}}')
        problems["functions"] = "The process is being replaced."
        assert get("/readyz")[0] == 200  # kept for a while
        clock.now += 6
        status, body = get("/readyz")
        assert status == 503
        assert json.loads(body)["checks"] == {"storage": "ok", "functions": "The process is being replaced."}


def test_a_check_that_fails_is_not_ready() -> None:
    def checks() -> Mapping[str, str | None]:
        raise RuntimeError("as the test wants it")

    with serving(checks=checks) as get:
        assert get("/readyz")[0] == 503


def test_gauges_that_fail_stop_nothing() -> None:
    def samples() -> list[Sample]:
        raise RuntimeError("as the test wants it")

    with serving(samples=samples) as get:
        assert get("/metrics")[0] == 500
        assert get("/healthz")[0] == 200


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"WORKER_MONITOR_PORT: cannot listen on 127.0.0.1:{port} "):
            Monitor("127.0.0.1", port, dict, tuple)


def test_one_that_was_never_run_can_be_stopped() -> None:
    Monitor("127.0.0.1", 0, dict, tuple).stop()


COUNTING = """
from prometheus_client import Counter
Counter("docmill_pages", "Pages").inc(2)
"""
SCRAPED = """
import sys
from worker.gauges import HELP, Sample
from worker.monitoring import Monitor
monitor = Monitor("127.0.0.1", 0, dict, lambda: [Sample(name, 1, {"client": "acme"}) for name in HELP])
sys.stdout.write(monitor._answer("/metrics").body.decode())
monitor.stop()
"""


def python(code: str, directory: Path | None) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    if directory:
        env["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, capture_output=True)
    return done.stdout.decode()


def test_counters_of_all_processes_and_of_those_that_are_gone(tmp_path: Path) -> None:
    for _ in range(2):
        python(COUNTING, tmp_path)
    text = python(SCRAPED, tmp_path)
    assert "docmill_pages_total 4.0" in text
    for name in HELP:
        assert f"# TYPE {name} gauge" in text and f'{name}{{client="acme"}} 1.0' in text


def test_a_worker_of_one_process_has_its_own_counters() -> None:
    text = python(f"{COUNTING}{SCRAPED}", None)
    assert "docmill_pages_total 2.0" in text


def test_prometheus_is_imported_by_a_scrape_and_not_before() -> None:
    code = "import sys, worker.monitoring as m; m.Monitor('127.0.0.1', 0, dict, tuple).stop()\n"
    python(f"{code}assert 'prometheus_client' not in sys.modules and 'psutil' not in sys.modules", None)


def test_all_gauges_are_explained() -> None:
    read = worker_gauges(
        QueueGauges(Queue(), MemoryDeadLetterStore(), ["acme"]), ProcessGauges(lambda: [os.getpid()]), "1.2"
    )
    samples = read()
    assert {sample.name for sample in samples} == set(HELP)
    assert Sample("docmill_up_info", 1.0, {"version": "1.2"}) in samples

"""Files that were made to break the converter: each ends as it should, in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import hostile

ROOT = Path(__file__).parents[2]
CHILD_MEMORY_MB = 768
CEILING = 1024 * 1024 * 1024


class Peak(threading.Thread):
    """The largest resident size of a process and its children together, looked at all the time."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._done.wait(0.01):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.bytes = max(self.bytes, sum(one.memory_info().rss for one in family))
            except psutil.Error:
                time.sleep(0.01)

    def stop(self) -> None:
        self._done.set()
        self.join()


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[str, str], list[dict[str, Any]], int]]:
    """What was expected, what came, and how much memory it took: one converter, all files."""
    folder = tmp_path_factory.mktemp("hostile")
    expected = hostile.write(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile", str(folder), str(CHILD_MEMORY_MB)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = Peak(process.pid)
    peak.start()
    try:
        assert process.stdout
        answers = [json.loads(line) for line in process.stdout]
    finally:
        process.kill()
        process.wait()
        peak.stop()
        process.stdout.close() if process.stdout else None
    for path in folder.iterdir():
        path.unlink()
    yield expected, answers, peak.bytes


Run = tuple[dict[str, str], list[dict[str, Any]], int]


def test_each_ends_as_it_should(run: Run) -> None:
    expected, answers, _ = run
    assert len(expected) > 40
    wrong = {
        answer["name"]: (answer["ended"], answer["message"])
        for answer in answers
        if answer["ended"] != expected[answer["name"]]
    }
    assert not wrong
    assert {answer["name"] for answer in answers} == set(expected)


def test_all_of_them_fit_into_a_gigabyte(run: Run) -> None:
    _, _, peak = run
    assert 0 < peak < CEILING


def test_messages_hold_no_path_and_none_is_empty(run: Run) -> None:
    for answer in run[1]:
        said = " ".join([answer["message"], *answer["warnings"]])
        assert "/tmp" not in said and "hostile" not in said and "Traceback" not in said
        assert said or answer["ended"] not in {"", None}


def test_bad_attachments_cost_a_warning_each(run: Run) -> None:
    (answer,) = [answer for answer in run[1] if answer["name"] == "bad attachments.eml"]
    assert [warning.partition(" was left out")[0] for warning in answer["warnings"]] == [
        f"Attachment {number}" for number in (1, 2, 3, 4, 5, 6)
    ]

"""Temporary files: gone with their process, or at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys
from pathlib import Path
from shared import scratch
with scratch.folder() as folder:
    (Path(folder) / "file").touch()
    print("working", flush=True)
    sys.stdin.read()
"""


@contextmanager
def working(directory: Path, code: str = WORK) -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(directory)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "working\n"
        yield process


def test_a_process_that_ends_leaves_nothing(tmp_path: Path) -> None:
    with working(tmp_path):
        assert len(list(tmp_path.rglob("file"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_goes_at_the_next_start_and_a_living_one_is_let_be(tmp_path: Path) -> None:
    with working(tmp_path) as living:
        with working(tmp_path) as killed:
            killed.send_signal(signal.SIGKILL)
        assert len(list(tmp_path.iterdir())) == 2
        with working(tmp_path):
            assert len(list(tmp_path.iterdir())) == 2
            assert len(list(tmp_path.rglob("file"))) == 2
        assert len(list(tmp_path.rglob("file"))) == 1
        assert living.poll() is None


def test_a_removal_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    (tmp_path / "docmill-scratch-empty").mkdir()
    (tmp_path / "docmill-scratch-half").mkdir()
    (tmp_path / "docmill-scratch-half" / "owner.lock").touch()
    # Its lock went, and then somebody who worked for its owner wrote once more.
    (tmp_path / "docmill-scratch-late" / "work" / "page").mkdir(parents=True)
    with working(tmp_path):
        assert len(list(tmp_path.iterdir())) == 1

"""`docmill webhooks listen` as a process of its own, as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.stack import ROOT

SECONDS = 60


@dataclass
class Listener:
    """`url`: where it listens. What it writes goes to files, so that no pipe fills up."""

    process: subprocess.Popen[bytes]
    directory: Path
    url: str = ""

    @property
    def lines(self) -> list[str]:
        return (self.directory / "stdout").read_text().splitlines()

    @property
    def notes(self) -> str:
        return (self.directory / "stderr").read_text()

    def printed(self, text: str) -> str:
        """The first line of stdout with this in it, once it is there."""
        return self.until(lambda: next((line for line in self.lines if text in line), ""), text)

    def until(self, found: Callable[[], str], what: str) -> str:
        end = time.monotonic() + SECONDS
        while not (value := found()):
            assert time.monotonic() < end, f"{what} did not come: {self.lines} {self.notes}"
            assert self.process.poll() is None, self.notes
            time.sleep(0.05)
        return value

    def stop(self, number: int = signal.SIGINT) -> int:
        """Its exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def listening(directory: Path, *words: str, environ: Mapping[str, str]) -> Iterator[Listener]:
    """Runs it in an empty directory with nothing but `environ` for settings, on a free port."""
    command = [sys.executable, "-m", "cli", "webhooks", "listen", "--port", "0", *words]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**kept, "PYTHONPATH": str(ROOT), **environ}
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=out, stderr=err)
    listener = Listener(process, directory)
    try:
        listener.url = listener.until(lambda: _url(listener.notes), "its address")
        yield listener
    finally:
        process.kill()
        process.wait()


def _url(notes: str) -> str:
    found = re.search(r"Listening on (http://127\.0\.0\.1:\d+/)", notes)
    return found[1] if found else ""

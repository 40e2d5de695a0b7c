"""Programs that a benchmark starts, threads that give them work, and the wait for its end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from local.process import base_environment
from local.stack import ROOT

SUBMITTERS = 4
DONE_SECONDS = 300
LOOK_SECONDS = 0.1


@contextmanager
def program(
    command: Sequence[str], settings: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the end of the block."""
    environ = {**base_environment(), **settings}
    with log.open("ab") as output:
        running = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)
    try:
        yield running
        if running.poll() is not None:
            raise RuntimeError(f"It ended by itself:\n{log.read_text()[-2000:]}")
    finally:
        running.terminate()
        running.wait(60)


def shared(count: int, submit: Callable[[Sequence[int]], None]) -> None:
    """Has threads submit the numbers below `count`, each its share."""
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        shares = [range(first, count, SUBMITTERS) for first in range(SUBMITTERS)]
        for done in [pool.submit(submit, share) for share in shares]:
            done.result()


def ended(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + DONE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError("The tasks have not ended.")
        time.sleep(LOOK_SECONDS)

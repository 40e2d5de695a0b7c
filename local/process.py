"""A process of the local stack: it ends when we end, however we end, and writes its output to a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WATCHDOG = Path(__file__).with_name("watchdog.py")
POLL_SECONDS = 0.05
TAIL_BYTES = 2000


class StackError(Exception):
    """The local stack cannot start. The text tells the developer what to do."""


class Child:
    """One running command under its watchdog."""

    def __init__(self, name: str, watchdog: subprocess.Popen[bytes], log: Path, grace: float) -> None:
        self.name = name
        self._watchdog = watchdog
        self._log = log
        self._grace = grace

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        stop_signal: str = "SIGTERM",
        grace: float = 5,
        keep_open: Sequence[int] = (),
        user: int | None = None,
    ) -> Child:
        """Starts `command`. `grace`: seconds between `stop_signal` and SIGKILL.

        `keep_open`: file descriptors that the watchdog holds until it ends (a lock on the data directory).
        `user`: numeric id to run as; only root may give one.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch(mode=0o600)
        owner = "-" if user is None else str(user)
        watched = [sys.executable, "-I", "-S", str(WATCHDOG), stop_signal, str(grace), owner, "--", *command]
        with log.open("ab") as output:
            watchdog = subprocess.Popen(
                watched,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env),
                # Out of reach of a signal to our process group: services end after whoever uses them.
                start_new_session=True,
                pass_fds=tuple(keep_open),
                umask=0o077,
            )
        return cls(name, watchdog, log, grace)

    @property
    def running(self) -> bool:
        return self._watchdog.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status once it has ended; 128 + number after a signal."""
        return self._watchdog.poll()

    def wait_until(self, answers: Callable[[], bool], seconds: float) -> None:
        """Returns when `answers()` is true. Raises StackError, with the end of the log, when that fails."""
        deadline = time.monotonic() + seconds
        while self.running:
            if answers() and self.running:
                return
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} does not answer after {seconds:g} s.{self._last_words()}")
            time.sleep(POLL_SECONDS)
        raise StackError(f"{self.name} ended with status {self.returncode}.{self._last_words()}")

    def wait(self, seconds: float | None = None) -> int:
        """Exit status of the command. Raises subprocess.TimeoutExpired."""
        return self._watchdog.wait(seconds)

    def stop(self) -> None:
        """Asks for the end and waits for it."""
        pipe = self._watchdog.stdin
        if pipe is not None and not pipe.closed:
            pipe.close()
        self._watchdog.wait(self._grace + 10)

    def _last_words(self) -> str:
        text = self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        return f" The end of {self._log}:\n{text}" if text else f" Its log is {self._log}."


def run(
    name: str,
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    seconds: float,
    user: int | None = None,
) -> str:
    """Output of a command that ends by itself. Raises StackError with its last words."""
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{name} was not done after {seconds:g} s.") from None
    if done.returncode:
        words = (done.stdout + done.stderr)[-TAIL_BYTES:].decode(errors="replace").strip()
        raise StackError(f"{name} failed with status {done.returncode}:\n{words}")
    return done.stdout.decode(errors="replace")


def base_environment() -> dict[str, str]:
    """Our environment for children, with local addresses exempt from any proxy."""
    exempt = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1"]))
    return {**os.environ, "NO_PROXY": exempt, "no_proxy": exempt}

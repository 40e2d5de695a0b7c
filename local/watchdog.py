"""Ties a process to the life of whoever started it: `python watchdog.py SIGNAL SECONDS USER -- COMMAND...`.

Standard input is a pipe that the starter holds open and never writes to. When it closes, because the starter
wants the end or because it was killed, COMMAND gets SIGNAL, and SECONDS later its process group is killed.
USER is the numeric id to run it as, `-` for our own.
A pipe works on every POSIX system, and for a starter that dies by SIGKILL. This file imports nothing of ours:
it runs with `python -I -S`, so that one watchdog costs little.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """The exit status of the command, negative for a signal as in `subprocess`."""
    signal_name, seconds, user, separator, *command = arguments
    if separator != "--" or not command:
        raise SystemExit(__doc__)
    # A Ctrl-C is for the starter, which closes the pipe in its own good time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = _start(command, None if user == "-" else int(user))
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    threading.Thread(target=_wait_for_end_of_file, args=(ending,), daemon=True).start()
    threading.Thread(target=_wait_for_child, args=(child, ending), daemon=True).start()
    ending.wait()
    _end(child, signal.Signals[signal_name], float(seconds))
    return child.wait()


def _start(command: Sequence[str], user: int | None) -> subprocess.Popen[bytes]:
    groups: list[int] | None = None if user is None else []
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, process_group=0, user=user, group=user, extra_groups=groups
    )


def _wait_for_end_of_file(ending: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    ending.set()


def _wait_for_child(child: subprocess.Popen[bytes], ending: threading.Event) -> None:
    child.wait()
    ending.set()


def _end(child: subprocess.Popen[bytes], number: signal.Signals, seconds: float) -> None:
    """Asks the command itself, then kills what is left of its group."""
    child.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)

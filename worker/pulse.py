"""Tells systemd that the worker lives: its main loop goes round, and the functions process answers."""

from __future__ import annotations

import threading
import time

from worker.process import FunctionsProcess
from worker.supervisor import Supervisor
from worker.systemd import notify, watchdog_seconds

TURN_SECONDS = 10.0
"""A main loop that has not gone round for so long hangs."""


class Pulse:
    def __init__(self, functions: Supervisor) -> None:
        self._functions = functions
        self._turned_at = time.monotonic()
        self._asked: tuple[FunctionsProcess, int] | None = None
        self._number = 0

    def turn(self) -> None:
        """The main loop says that it goes round."""
        self._turned_at = time.monotonic()

    def alive(self) -> bool:
        return time.monotonic() - self._turned_at < TURN_SECONDS

    def run(self, stopping: threading.Event) -> None:
        """Until the worker stops; it does nothing where nobody watches."""
        if not self._functions.wait_until_up(stopping):
            return
        notify("READY=1")
        every = watchdog_seconds()
        while every is not None and not stopping.wait(min(5.0, every / 4)):
            if self.alive() and self._answers():
                notify("WATCHDOG=1")
            self._ask()

    def _answers(self) -> bool:
        """Whether it answered what it was asked a moment ago. One that is being renewed is not asked: how
        long that takes is the supervisor's to say."""
        if self._asked is None:
            return True
        process, number = self._asked
        return process.ended.is_set() or process.pongs >= number

    def _ask(self) -> None:
        process = self._functions.process
        if process is None:
            self._asked = None
        elif self._asked is None or self._asked[0] is not process or process.pongs >= self._asked[1]:
            self._number += 1
            self._asked = process, self._number
            process.ping(self._number)
